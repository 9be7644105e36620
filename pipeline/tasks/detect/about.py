"""What detection is: names, metrics, the paper's scale."""

from pipeline.params.registry import AboutTask, Metric, PaperScale
from pipeline.tasks.detect.recipe import Detect

ABOUT = AboutTask(
    label="detection",
    logic="pipeline.tasks.detect.logic.Detection",
    operations="pipeline.tasks.detect.operations.operations",
    predictor="pipeline.tasks.detect.prediction.ObjectPredictor",
    section=Detect,
    target="json",
    metrics={  # how they are written; `coco.py` computes them, and says how one is added
        "box_ap": Metric("box AP", tolerance=0.4),
        "box_ap50": Metric("box AP50"),
        "box_ap75": Metric("box AP75"),
        "mask_ap": Metric("mask AP", tolerance=0.4),
        "mask_ap50": Metric("mask AP50"),
        "mask_ap75": Metric("mask AP75"),
    },
    class_metric="box_ap",
    class_label="box AP, %",
    paper=PaperScale(118_287, 117_000, 5_000, 4_900, 80, 36),
    code=(
        "models/heads",
        "pipeline/datasets/objects.py",
        "pipeline/datasets/coco/segmentations.py",
        "pipeline/tasks/dense",
    ),
    results_writer="pipeline.tasks.detect.coco.write_results",
)
