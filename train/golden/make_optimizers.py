"""Makes optimizers.safetensors: parameters after updates by LAMB (written out in plain torch, float64) and torch.optim.AdamW.

LAMB follows NVIDIA's fused implementation step by step, tensor by tensor. Results are stored as float32. The gradient of step s is
`scale[s] * gradient[s % NUM_GRADIENTS]`, multiplied in float32, so that the file stays small.
Run: python make_optimizers.py (needs torch 2.11, numpy, safetensors).
"""

import pathlib

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
NUM_STEPS = 100
NUM_GRADIENTS = 10
KEPT = (1, 2, 10, NUM_STEPS)
# name: shape, weight decay. One tensor starts at zero: its trust ratio is 1 then.
TENSORS = {"a.weight": ((5, 7), True), "b.bias": ((7,), False), "zero.weight": ((4, 3), True), "c.weight": ((82, 50), True), "d.LayerNorm.weight": ((9,), False)}


def learning_rate(step, peak, warmup, total):
    progress = (step + 1) / total
    return peak * (progress / warmup if progress < warmup else (1 - progress) ** 0.5)


def lamb(parameters, gradients, rates, betas=(0.9, 0.999), eps=1e-6, decay=0.01):
    b1, b2 = betas
    m = {name: torch.zeros_like(p) for name, p in parameters.items()}
    v = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for t, (gradient, rate) in enumerate(zip(gradients, rates), 1):
        total = torch.sqrt(sum((g**2).sum() for g in gradient.values()))
        for name, p in parameters.items():
            g = gradient[name] / max(total, 1)
            m[name] = b1 * m[name] + (1 - b1) * g
            v[name] = b2 * v[name] + (1 - b2) * g**2
            u = (m[name] / (1 - b1**t)) / (torch.sqrt(v[name] / (1 - b2**t)) + eps)
            ratio = rate
            if TENSORS[name][1]:
                u = u + decay * p
                p_norm, u_norm = torch.linalg.norm(p), torch.linalg.norm(u)
                if p_norm != 0 and u_norm != 0:
                    ratio = rate * p_norm / u_norm
            p -= ratio * u
        yield t


def main():
    generator = torch.Generator().manual_seed(3)
    out = {}
    start, gradients = {}, [{} for _ in range(NUM_STEPS)]
    # Global norms from about 0.2 to 60: some are clipped, some are not.
    scale = torch.logspace(-2.5, 0, NUM_STEPS)[torch.randperm(NUM_STEPS, generator=generator)]
    out["scale"] = scale
    for name, (shape, _) in TENSORS.items():
        p = torch.randn(shape, generator=generator)
        start[name] = torch.zeros(shape) if name.startswith("zero") else p
        out[f"start.{name}"] = start[name]
        some = torch.randn((NUM_GRADIENTS, *shape), generator=generator)
        for step in range(NUM_STEPS):
            gradients[step][name] = scale[step] * some[step % NUM_GRADIENTS]
        out[f"gradient.{name}"] = some
    rates = [learning_rate(step, 0.02, 0.3, NUM_STEPS + 1) for step in range(NUM_STEPS)]
    out["learning_rate"] = torch.tensor(rates, dtype=torch.float64)

    double = {name: p.double().clone() for name, p in start.items()}
    for t in lamb(double, [{n: x.double() for n, x in g.items()} for g in gradients], rates):
        out |= {f"lamb.{t}.{name}": p.float() for name, p in double.items() if t in KEPT}

    double = {name: p.double().clone().requires_grad_() for name, p in start.items()}
    groups = [
        {"params": [p for n, p in double.items() if TENSORS[n][1] == decayed], "weight_decay": 0.01 if decayed else 0.0}
        for decayed in (True, False)
    ]
    adamw = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), eps=1e-8)
    for step in range(NUM_STEPS):
        for name, p in double.items():
            p.grad = gradients[step][name].double()
        torch.nn.utils.clip_grad_norm_(double.values(), 1.0)
        for group in adamw.param_groups:
            group["lr"] = rates[step]
        adamw.step()
        if step + 1 in KEPT:
            out |= {f"adamw.{step + 1}.{name}": p.detach().float().clone() for name, p in double.items()}
    save_file({name: t.contiguous() for name, t in out.items()}, HERE / "optimizers.safetensors")
    norms = [float(torch.sqrt(sum((x.double() ** 2).sum() for x in g.values()))) for g in gradients]
    print("gradient norms", [round(n, 2) for n in norms])


if __name__ == "__main__":
    main()
