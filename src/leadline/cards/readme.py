"""A model's card as the README.md that the hub shows: what it predicts, made from what, on what terms."""

from __future__ import annotations

from leadline import documents
from leadline.cards import Card
from leadline.prediction import Kind

LICENCES = ("apache-2.0", "mit", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0")  # ids that the hub knows
TASKS = {Kind.normals: "image-to-image"}  # the hub has no task for normals
SECTIONS = {
    "Training data": "training_data",
    "Made with": "made_with",
    "Intended use": "intended_use",
    "Limits": "limits",
    "Terms": "terms",
    "Citation": "citation",
}


def readme(card: Card) -> str:
    """Markdown with the hub's header. Unknown facts are said to be unknown.

    >>> from leadline import cards
    >>> print(readme(cards.get("small")).splitlines()[1])
    license: apache-2.0
    """
    licence = card.licence.lower()
    header = {"license": licence if licence in LICENCES else "other"}
    if header["license"] == "other":
        header["license_name"] = card.licence
    task = TASKS.get(card.kind, "depth-estimation")
    head = documents.to_yaml(
        {**header, "pipeline_tag": task, "library_name": "diffusers", "tags": ["leadline"]}
    )
    unit = "" if card.kind.unit == "none" else f" ({card.kind.unit}s)"
    lines = [f"# {card.name}", "", card.summary or f"Predicts {card.kind.value}{unit}.", ""]
    lines += ["| | |", "|---|---|"]
    facts = {
        "method": card.method,
        "predicts": card.kind.value + unit,
        "frame of normals": card.frame,
        "parameters": f"{card.parameters:,}" if card.parameters else "unknown",
        "steps, ensemble": f"{card.defaults.steps}, {card.defaults.ensemble}",
        "licence": card.licence,
    }
    lines += [f"| {key} | {value} |" for key, value in facts.items() if value is not None]
    for title, field in SECTIONS.items():
        if text := getattr(card, field):
            lines += ["", f"## {title}", "", text]
    if card.results:
        lines += ["", "## Results", "", "```yaml", documents.to_yaml(card.results).strip(), "```"]
    lines += ["", "## Use", "", "```python", "import leadline", "", 'model = leadline.load("FOLDER or ID")']
    lines += ['print(model("photo.jpg").values)', "```", ""]
    return f"---\n{head}---\n\n" + "\n".join(lines)
