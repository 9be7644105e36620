"""Overlaps and matching of boxes, written plainly for tests to compare with."""

from models.heads.boxes import BACKGROUND, IGNORED


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def plain_match(boxes, truth, positive, negative, best):
    """Box by box, then true box by true box, as mmdetection assigns."""
    table = [[iou(box, true) for true in truth] for box in boxes]
    found = []
    for row in table:
        index = max(range(len(truth)), key=lambda i: row[i])
        found.append(
            index if row[index] >= positive else BACKGROUND if row[index] < negative else IGNORED
        )
    for i in range(len(truth) if best is not None else 0):
        highest = max(row[i] for row in table)
        for number, row in enumerate(table):
            if highest >= best and row[i] == highest:
                found[number] = i
    return found
