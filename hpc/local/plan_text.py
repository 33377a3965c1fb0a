"""A plan as text, for people: what this machine would run."""

from __future__ import annotations

import shlex

from hpc.campaign.plan import Plan
from hpc.campaign.task import SERVER


def plan_text(plan: Plan) -> str:
    """The plan as text, one process after the other."""
    lines = [f"campaign {plan.name}: {len(plan.tasks)} processes, in {plan.run_dir}"]
    if plan.sealed:
        lines.append(f"on the sealed dataset in {plan.server}")
    elif plan.server is not None:
        lines.append(f"on the Kafka at {plan.server}")
    for task in plan.tasks:
        after = f"after {', '.join(task.after)}" if task.after else "at once"
        if task.role == "trial":
            after += f", at most {plan.max_parallel} at a time"
        lines += ["", f"{task.name}: {after}"]
        lines += [f"    {key}={shlex.quote(value)} \\" for key, value in task.env.items()]
        lines.append("    " + " ".join(_word(word) for word in task.argv))
    return "\n".join(lines)


def _word(word: str) -> str:
    return word if word == SERVER else shlex.quote(word)
