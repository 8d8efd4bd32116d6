"""What is asked of PrimeDepth, FiffDepth and MetricGold at small scale, and the words around the answers."""

from __future__ import annotations

from dataclasses import dataclass

from systems_measure import MEMBERS, POINTS, STEPS

EDGES = "boundary_f1"
ORACLE = "the better of primedepth and small"


@dataclass(frozen=True)
class Question:
    """Whether the first model is better than the second by a metric, on each set of frames. tails: what
    follows the set in the labels of either.
    """

    asks: str
    better: str
    worse: str
    metric: str = "absrel"
    tails: tuple[str, str] = ("", "")


def _sharper(asks: str, worse: str, tail: str = "") -> Question:
    """Of FiffDepth, on scenes alone: other truths have holes."""
    return Question(f"boundaries are sharper than {asks}", "fiffdepth", worse, EDGES, ("", tail))


def _metres(asks: str, better: str, worse: str, tail: str = "") -> tuple[Question, Question]:
    """Of metres as they are, and of what is left when the scale of each frame is mended."""
    return (
        Question(asks, better, worse, tails=("", tail)),
        Question(f"{asks}, one factor", better, worse, tails=(", one factor", f"{tail}, one factor")),
    )


QUESTIONS: dict[str, tuple[Question, ...]] = {
    "fiffdepth": (
        Question("the teacher beats the student that it never taught", "small", "fiffdepth-no-teacher"),
        Question("the teacher helps", "fiffdepth", "fiffdepth-no-teacher"),
        Question("the filter is better than teaching d_0 itself", "fiffdepth", "fiffdepth-teacher-at-0"),
        Question("keeping a trajectory helps", "fiffdepth", "fiffdepth-no-trajectory"),
        Question("a blend of picture and depth is better than pictures", "fiffdepth", "fiffdepth-images"),
        _sharper("without a trajectory", "fiffdepth-no-trajectory"),
        _sharper("with the teacher at d_0", "fiffdepth-teacher-at-0"),
        _sharper("with pictures alone on the trajectory", "fiffdepth-images"),
        _sharper("without a teacher", "fiffdepth-no-teacher"),
        _sharper("the teacher's", "small"),
        _sharper("its filter's", "fiffdepth", ", filtered"),
    ),
    "metricgold": (
        *_metres("the logarithm is better than the linear law", "metricgold", "metricgold-linear"),
        *_metres("an autoencoder for depth helps", "metricgold", "metricgold-original-vae"),
        *_metres(
            f"one step is better than diffusion in {STEPS}, {MEMBERS} members",
            *("metricgold", "metricgold-diffusion", f" x{MEMBERS}"),
        ),
        *_metres("knowing the camera helps", "metricgold", "metricgold-no-camera"),
        *_metres("research data help", "metricgold-research", "metricgold"),
        Question(
            f"{POINTS} known points make the bundled affine model better",
            *("small", "metricgold"),
            tails=(f", {POINTS} points", ""),
        ),
    ),
    "primedepth": (
        Question("a loss of pixels is better than one of latents", "primedepth", "primedepth-latent"),
        Question("classes help depth", "primedepth", "primedepth-no-segmentation"),
        Question("maps of attention help", "primedepth-no-segmentation", "primedepth-no-attention"),
        Question("features help", "primedepth-no-segmentation", "primedepth-no-features"),
        Question(
            "fusion stage by stage is better than all at once",
            *("primedepth-no-segmentation", "primedepth-block"),
        ),
        Question("labelled photographs before the scenes help", "primedepth-two-stages", "primedepth"),
        Question("PrimeDepth is better than the bundled model", "primedepth", "small"),
        Question("the average of both is better than the bundled model", "primedepth+small", "small"),
        Question("the better of both, frame by frame, is better than the bundled model", *(ORACLE, "small")),
    ),
    "leakage": (
        Question(
            "without signal at the last level the scale is less wrong",
            *("metricgold-cured", "metricgold-leaking"),
            "log_error",
        ),
        Question(
            f"without it the scale of the median of {MEMBERS} members is less wrong",
            *("metricgold-cured", "metricgold-leaking"),
            "log_error",
            tails=(f" x{MEMBERS}", f" x{MEMBERS}"),
        ),
    ),
}
EXTRA = {  # models that no question names
    "metricgold": ("metricgold-vae", "metricgold-vae-linear", "metric"),
    "leakage": ("metricgold-vae",),
    "primedepth": ("small-primedepth-labels",),
}
INTRODUCTIONS = {
    "fiffdepth": """# FiffDepth at small scale

```shell
python benchmarks/small_systems.py fiffdepth            # this page, from the stored figures
python benchmarks/small_systems.py fiffdepth --retrain  # and all trainings behind it
```

The ablations of [FiffDepth](papers/fiffdepth.md)'s Figure 7, whose figures were not published: the prior is a
hundred times smaller than Stable Diffusion, the teacher is the bundled model, trainings take minutes.
`fiffdepth-no-teacher` sees two batches of scenes where others see one of scenes and one of photographs. Depth
is fitted to the truth by scale and shift; "20 points" fits to so many known ones, which then do not count.
The spectrum says how much power the filter leaves in each of the four finest octaves of 96 pixels, in dB, the
finest last; without a teacher, or with one at d_0, nobody has trained the filter.
""",
    "metricgold": f"""# MetricGold at small scale

```shell
python benchmarks/small_systems.py metricgold            # this page, from the stored figures
python benchmarks/small_systems.py metricgold --retrain  # and all trainings behind it
```

What the parts of [MetricGold](papers/metricgold.md) are worth, whose paper has no table: the prior is a
hundred times smaller than Stable Diffusion, trainings take minutes, on rendered scenes. Metres are taken as
they are; "one factor" is what is left when the scale of each frame is mended; `small` is the bundled affine
model, fitted to the truth or to {POINTS} known points. `metric` is the model in the package, trained longer,
on larger pictures, and up to 80 m of canonical depth, the others up to 160; `metricgold-research` has also
seen 156 real frames of three places, none of them a test's, whose terms allow research alone.
`metricgold-diffusion` denoises in {STEPS} steps, alone or {MEMBERS} times ("x{MEMBERS}"), where the paper has
50 steps and ten times.
""",
    "primedepth": """# PrimeDepth at small scale

```shell
python benchmarks/small_systems.py primedepth            # this page, from the stored figures
python benchmarks/small_systems.py primedepth --retrain  # and all trainings behind it
```

The rows of [PrimeDepth](papers/primedepth.md)'s Table 3, and the question of its Table 2: whether it and a
data-driven model complement each other. The prior is a hundred times smaller than Stable Diffusion and has no
text; trainings take minutes, on rendered scenes with their classes, as the photographs at hand have none: so
all variants are trained on truth, where the paper's are trained on labels. `primedepth-two-stages` has seen
photographs first, with the bundled model's word for their depth.
""",
    "leakage": f"""# Scale leakage

```shell
python benchmarks/small_systems.py leakage            # this page, from the stored figures
python benchmarks/small_systems.py leakage --retrain  # and the trainings behind it
```

Stable Diffusion's last noise level holds 7 % of the truth, whose mean is the scale of a scene: a network can
read it in training, and finds nothing in a prediction, which starts from noise alone
([MetricGold](papers/metricgold.md)). Two trainings differ in the noise levels alone, whose last has no signal
with zero-terminal SNR; neither knows the camera. The bias is the predicted
logarithmic median less the true one; a positive one is too far. Both denoise in {STEPS} steps, alone or
{MEMBERS} times ("x{MEMBERS}").
""",
}


READINGS = {  # what no figure says
    "fiffdepth": """Whether the teacher is ahead of the untaught student on real frames is asked first: it is
what the method needs. All are trained for minutes and see 96 pixels, so that `d_0` is soft itself, and what
the paper is about, detail that the teacher lacks, is hardly there to be kept.
""",
    "metricgold": """Metres of one photograph are guesses at this scale, and the scale of a scene is what is
guessed worst (the bias, below). It also differs most from one training to the next: in an earlier round, with
a range of 80 m, two answers on metres as they are were the opposite, and none of those after one factor per
frame. So the latter tell more of the methods, the former of these networks.
""",
    "primedepth": """The variants differ by little: a part that helps here may help more in a large network,
whose features and attention know more than those of a prior of this size, and the other way round.
""",
    "leakage": """A network that reads the scale in training has nothing to read in a prediction, and gives
near the same scale whatever it sees: right where things happen to be of that scale, wrong elsewhere. So it is
not the mean bias that tells, but whether the predicted scale follows the true one. Trainings are short, and
each network's own bias, of one sign or the other, is on top of that.
""",
}
