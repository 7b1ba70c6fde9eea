"""From a corpus to a trained model and its report: one module per stage, each with a function ``run``.

The commands of ``bemerc`` call these functions, and DVC's stages are those commands (dvc.yaml). project.py says where
every file of a project lies.
"""
