"""What segmentation is: names, metrics, the paper's scale."""

from pipeline.params.registry import AboutTask, Metric, PaperScale
from pipeline.tasks.segment.recipe import Segment

ABOUT = AboutTask(
    label="segmentation",
    logic="pipeline.tasks.segment.logic.Segmentation",
    operations="pipeline.tasks.segment.operations.operations",
    predictor="pipeline.tasks.segment.prediction.LabelPredictor",
    section=Segment,
    target="png",
    metrics={
        "miou": Metric("mIoU", tolerance=0.5),
        "pixel_accuracy": Metric("pixel accuracy"),
        "miou_multiscale": Metric("mIoU, multi-scale and flipped", in_trials=False),
    },
    class_metric="iou",
    class_label="IoU, %",
    paper=PaperScale(20_210, 20_000, 2_000, 2_000, 150, 126),  # 160,000 steps of 16 images
    code=("models/heads", "pipeline/tasks/dense"),
)
