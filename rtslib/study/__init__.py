"""The study: plans of runs, the runs themselves, their tables, and the notebooks that tell of them."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(__name__, submod_attrs={
    "answer": ["Answer"], "study": ["Study", "StudyRun", "at_repo_root"], "plan": ["COMPARED", "STAGES_OF"],
    "tables": ["numbers", "run_study"], "rows": ["counted"], "attention": ["read_by"],
    "sentences": ["average", "leader", "on_the_ground", "standings"],
    "scores": ["best", "curve_table", "gains", "log_table", "score", "threshold"], "redraw": ["draw_all", "show_chart"],
    "scene": ["map_table", "save_map_table", "study_scene", "why_no_scene", "window_of"], "record": ["compare"],
    "workbook": ["run"],
})  # fmt: skip
