"""The last stage's work: published numbers, measured results, what one says about the other, and
the pages.

`claims`, `results` and `trials` read; `samples` and `contrasts` set runs side by side; `scale`,
`verdict`, `statistics` and `effects` judge; `first`, `answers` and `sections` say it in blocks of
`document`, which `page` and `document` turn into HTML and Markdown; `figures` and `forest` draw,
and `vector` makes what they drew a part of the page;
`table` and `derived` are for other programs.
"""
