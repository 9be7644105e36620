"""What classification is: names, metrics, the paper's scale."""

from pipeline.params.registry import AboutTask, Metric, PaperScale
from pipeline.tasks.classify.recipe import Classify

ABOUT = AboutTask(
    label="classification",
    logic="pipeline.tasks.classify.logic.Classification",
    operations="pipeline.tasks.classify.operations.operations",
    predictor="pipeline.tasks.classify.prediction.ClassPredictor",
    section=Classify,
    target="cls",
    metrics={
        "top1": Metric("top-1", tolerance=0.3),
        "top5": Metric("top-5", tolerance=0.2),
        "real_top1": Metric("top-1, Real labels", in_trials=False),
        "loss": Metric("loss", unit="", lower_is_better=True),
    },
    class_metric="top1",
    class_label="top-1, %",
    paper=PaperScale(1_281_167, 1_280_000, 50_000, 50_000, 1000, 300, image_size=224),
    classifier=True,
    least_images=2,  # images are mixed in pairs
)
