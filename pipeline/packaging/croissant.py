"""A data set's shards in Croissant's words: files with digests, records, fields; no images."""

from typing import Any

from pipeline.params.registry import Origin, datasets
from pipeline.shards.manifest import Manifest, SplitEntry

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that Croissant prescribes."""
PARTS = ("images", "targets")
STEM = r"^(.+)\.[a-z]+$"
"""A member's name without what it is of the sample."""
IMAGES = ("*.jpg", "*.jpeg", "*.png")
TARGETS = {"cls": ("text/plain", "sc:Integer"), "json": ("application/json", "sc:Text")}
"""Media type and data type of a target's member; a mask is an image."""
MASK = ("image/png", "sc:ImageObject")


def croissant(manifest: Manifest, drawn: bool, origin: Origin, day: str) -> dict[str, Any]:
    """Return a data set's metadata.

    Args:
        manifest: of its shards.
        drawn: whether the project drew the images, so that they are nobody else's.
        origin: of the project, whose drawn images are.
        day: when the metadata count as published, e.g. 2021-06-08.
    """
    official = datasets()[manifest.dataset].origin or origin
    about = origin if drawn else official
    images = "images drawn in its place" if drawn else "the official images"

    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": manifest.dataset,
        "description": f"{official.title} as tar shards (webdataset): {images}.",
        "url": about.url,
        "license": about.license,
        "datePublished": day,
        "version": "1.0.0",
        "citeAs": f"manifest of SHA-256 {manifest.digest}",
        "distribution": [
            part
            for name, split in manifest.splits.items()
            for part in _files(manifest, name, split)
        ],
        "recordSet": [
            _classes(manifest),
            *(_records(manifest, name, part) for name in manifest.splits for part in PARTS),
        ],
    }


def _files(manifest: Manifest, split: str, entry: SplitEntry) -> list[dict[str, Any]]:
    """Return a split's tars, and the sets of members that lie in them."""
    tars = [
        {
            "@type": "cr:FileObject",
            "@id": f"{split}/{shard.name}",
            "name": f"{split}/{shard.name}",
            "contentUrl": f"data/shards/{manifest.dataset}/{split}/{shard.name}",
            "contentSize": f"{shard.bytes} B",
            "encodingFormat": "application/x-tar",
            "sha256": shard.sha256,
        }
        for shard in entry.shards
    ]

    inside = [{"@id": tar["@id"]} for tar in tars]
    member = manifest.target.member
    parts = (
        ("images", IMAGES, "image/jpeg"),
        ("targets", (f"*.{member}",), TARGETS.get(member, MASK)[0]),
    )

    return tars + [
        {
            "@type": "cr:FileSet",
            "@id": f"{split}-{part}",
            "name": f"{split}-{part}",
            "containedIn": inside,
            "encodingFormat": media,
            "includes": list(names),
        }
        for part, names, media in parts
    ]


def _classes(manifest: Manifest) -> dict[str, Any]:
    """Return the classes as records of their own: index, official id and name."""
    fields = {"index": "sc:Integer", "id": "sc:Text", "name": "sc:Text"}
    return {
        "@type": "cr:RecordSet",
        "@id": "classes",
        "name": "classes",
        "key": {"@id": "classes/index"},
        "field": [
            {"@type": "cr:Field", "@id": f"classes/{name}", "name": name, "dataType": kind}
            for name, kind in fields.items()
        ],
        "data": [
            {"classes/index": index, "classes/id": str(entry.id), "classes/name": entry.name}
            for index, entry in enumerate(manifest.classes)
        ],
    }


def _records(manifest: Manifest, split: str, part: str) -> dict[str, Any]:
    """Return the images of a split, or their targets; samples are joined by their keys."""
    target = TARGETS.get(manifest.target.member, MASK)[1]
    data_type = "sc:ImageObject" if part == "images" else target
    name = f"{split}-{part}"
    fields = {"key": ("filename", "sc:Text"), part.removesuffix("s"): ("content", data_type)}

    return {
        "@type": "cr:RecordSet",
        "@id": f"{name}-records",
        "name": f"{name}-records",
        "key": {"@id": f"{name}-records/key"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}-records/{field}",
                "name": field,
                "dataType": data,
                "source": {
                    "fileSet": {"@id": name},
                    "extract": {"fileProperty": what},
                    **({"transform": {"regex": STEM}} if what == "filename" else {}),
                },
            }
            for field, (what, data) in fields.items()
        ],
    }
