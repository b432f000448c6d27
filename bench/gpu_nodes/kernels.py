"""Where a step's time goes: the GPU's kernels, added up by what they do; and which attention really ran."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

KINDS = (
    ("attention", r"flash|fmha|attention|sdpa|cudnn_generated_fort"),
    ("layout changes", r"nchwTo|nhwcTo|NCHWTo|transpose|convertTensor"),
    ("convolutions", r"conv|fprop|implicit|xmma"),
    ("linear layers", r"gemm|cutlass|nvjet|cublas|splitK"),
    ("norms", r"[Nn]orm|RowwiseMoments|ComputeFused|moments"),
    ("copies and concatenations", r"copy|Memcpy|CatArray|Memset"),
    ("additions, activations, other element-wise", r"elementwise|vectorized|unrolled"),
)
LONGEST = 14


def kind_of(kernel: str) -> str:
    return next((kind for kind, pattern in KINDS if re.search(pattern, kernel)), "other")


def shares(work: Callable[[], Any], steps: int) -> dict[str, Any]:
    """Seconds a step by kind of kernel, and the longest kernels by name. `work` makes so many steps."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        work()
        torch.cuda.synchronize()
    by_kind, by_name = Counter[str](), Counter[str]()
    for event in seen.key_averages():
        seconds = event.self_device_time_total / 1e6 / steps
        if seconds > 0 and not event.key.startswith("aten::"):
            by_kind[kind_of(event.key)] += seconds
            by_name[event.key[:150]] += seconds
    if not by_kind:
        return {"seconds": 0.0, "kinds": {"the profiler saw no kernel": 0.0}, "longest": {}}
    return {
        "seconds": round(sum(by_kind.values()), 4),
        "kinds": {kind: round(seconds, 4) for kind, seconds in by_kind.most_common()},
        "longest": {name: round(seconds, 4) for name, seconds in by_name.most_common(LONGEST)},
    }


def back_ends(work: Callable[[], Any]) -> dict[str, int]:
    """Which of torch's attentions ran how often: {"queries x keys, op": calls}. The ops tell what torch chose."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds, record_shapes=True) as seen:
        work()
    found = Counter[str]()
    for event in seen.key_averages(group_by_input_shape=True):
        if event.key.startswith("aten::_scaled_dot_product_") and not event.key.endswith("_backward"):
            q, k = event.input_shapes[:2]
            kind = event.key.removeprefix("aten::_scaled_dot_product_")
            found[f"{q[0]}x{q[1]} heads, {q[2]} x {k[2]}: {kind}"] += event.count
    return dict(found) or {"none of torch's": 0}
