"""Files, folders, globs and lists -> results in a folder that remembers what it holds."""

from leadline.jobs.inputs import Job, collect
from leadline.jobs.known import Known
from leadline.jobs.run import Failure, Summary, files
from leadline.jobs.settings import Predictor

__all__ = ["Failure", "Job", "Known", "Predictor", "Summary", "collect", "files"]
