"""The last stage's work: published numbers, measured results, what one says about the other, and the pages.

`claims` and `results` read; `scale`, `verdict`, `statistics` and `contrasts` judge; `sections` and `questions` say it
in blocks of `document`, which `page` and `document` turn into HTML and Markdown; `figures` draws.
"""
