"""cp_sat.py PROBLEM.json PLACED.json --seconds N --workers N [--classes]

OR-tools CP-SAT on a problem that `synthetic --write` wrote: x[w,n] replicas of w on n, y[n] whether n is used; or, with
--classes, like nodes taken together (then the answer is a bound and counts, not a placement: nothing is written).

Tiers one after the other, as the solver has them: shortage by priority (one weighted sum, each priority outweighing the
lower ones), soft rules, cost. Each starts from the one before. `peer PROBLEM.json judge PLACED.json` judges the result.
"""
import argparse, json, time
from ortools.sat.python import cp_model

a = argparse.ArgumentParser()
a.add_argument("problem"); a.add_argument("placed")
a.add_argument("--seconds", type=float, default=30); a.add_argument("--workers", type=int, default=2)
a.add_argument("--classes", action="store_true")
a = a.parse_args()
P = json.load(open(a.problem))
W, N, R = P["workloads"], P["nodes"], len(P["resources"])
start = time.time()

# Bins: single nodes, or nodes alike in capacity, price, zone and eligibility (topology 1 is the node itself).
sets = [set(w["eligible"]) for w in W]
bins = {}
for n, node in enumerate(N):
    key = n if not a.classes else (tuple(node["capacity"]), node["price_micros"], node["domains"][0],
                                   tuple(n in s for s in sets))
    bins.setdefault(key, []).append(n)
bins = list(bins.values())
scale = [1, 1 << 20, 1, 1]  # memory in MiB: sums must stay well below 2^63

def up(amount, r):
    return -(-amount // scale[r])

m = cp_model.CpModel()
x, y = {}, {}
for b, nodes in enumerate(bins):
    y[b] = m.new_int_var(0, len(nodes), f"y{b}")
for w, spec in enumerate(W):
    for b, nodes in enumerate(bins):
        node = N[nodes[0]]
        if nodes[0] in sets[w]:
            most = min([spec["wanted"]] + [node["capacity"][r] // d for r, d in enumerate(spec["demand"]) if d])
            if spec["per_node_max"] is not None:
                most = min(most, spec["per_node_max"])
            top = min(spec["wanted"], most * len(nodes))
            if top:
                x[w, b] = m.new_int_var(0, top, f"x{w},{b}")
                if len(nodes) == 1:
                    m.add(x[w, b] <= most * y[b])
by_bin = [[w for w in range(len(W)) if (w, b) in x] for b in range(len(bins))]
by_w = [[b for b in range(len(bins)) if (w, b) in x] for w in range(len(W))]
for b, nodes in enumerate(bins):
    for r in range(R):
        terms = [up(W[w]["demand"][r], r) * x[w, b] for w in by_bin[b] if W[w]["demand"][r]]
        if terms:
            m.add(sum(terms) <= N[nodes[0]]["capacity"][r] // scale[r] * y[b])
placed = [sum(x[w, b] for b in by_w[w]) for w in range(len(W))]
for w, spec in enumerate(W):
    m.add(placed[w] <= spec["wanted"])

def within(w, t):
    """Per domain (only zones with --classes): the count as an expression."""
    of = {}
    for b in by_w[w]:
        of.setdefault(N[bins[b][0]]["domains"][t], []).append(x[w, b])
    return {d: sum(terms) for d, terms in of.items()}

soft = []
for c, constraint in enumerate(P["constraints"]):
    (kind, r), = constraint["rule"].items()
    weight, slack = constraint["weight"], 0
    t = r.get("topology")
    if a.classes and t == 1:
        if kind == "LimitPerDomain" and weight is None:
            for w in r["workloads"]:
                for b in by_w[w]:
                    m.add(x[w, b] <= r["limit"] * len(bins[b]))
        continue

    def broken(most, c=c):
        s = m.new_int_var(0, most, f"s{c}_{len(soft)}")
        soft.append((weight, s))
        return s

    if kind == "Spread":
        w = r["workload"]
        of = within(w, t)
        lo, hi = m.new_int_var(0, W[w]["wanted"], ""), m.new_int_var(0, W[w]["wanted"], "")
        for d in {N[n]["domains"][t] for n in W[w]["eligible"]}:
            m.add(of.get(d, 0) >= lo)
            m.add(of.get(d, 0) <= hi)
        m.add(hi - lo <= r["max_skew"] + (0 if weight is None else broken(W[w]["wanted"])))
    elif kind == "LimitPerDomain":
        for w in r["workloads"]:
            for count in within(w, t).values():
                m.add(count <= r["limit"] + (0 if weight is None else broken(W[w]["wanted"])))
    elif kind == "SeparateFrom":
        of_a, of_b = within(r["a"], t), within(r["b"], t)
        for d in of_a.keys() & of_b.keys():
            z = m.new_bool_var("")
            m.add(of_a[d] <= W[r["a"]]["wanted"] * z)
            m.add(of_b[d] <= W[r["b"]]["wanted"] * (1 - z))
    elif kind == "Near":
        of, to = within(r["workloads"][0], t), within(r["to"][0], t)
        for d, count in of.items():
            u = m.new_bool_var("")
            m.add(u <= to.get(d, 0))
            wanted = W[r["workloads"][0]]["wanted"]
            m.add(count <= wanted * u + (0 if weight is None else broken(wanted)))
    elif kind == "Quota":
        for resource, most in r["max"]:
            m.add(sum(W[w]["demand"][resource] * placed[w] for w in r["workloads"]) <= most)
    elif kind == "AllOrNothing":
        z = m.new_bool_var("")
        for w in r["workloads"]:
            m.add(placed[w] == W[w]["wanted"] * z)

shortage, factor = [], 1
for priority in sorted({w["priority"] for w in W}):
    of = [w for w in range(len(W)) if W[w]["priority"] == priority]
    shortage.append(factor * sum(W[w]["wanted"] - placed[w] for w in of))
    factor *= 10
tiers = [("shortage", sum(shortage)), ("soft", sum(k * s for k, s in soft)),
         ("cost", sum(N[nodes[0]]["price_micros"] * y[b] for b, nodes in enumerate(bins)))]
best, values = {key: 0 for key in x}, []  # nothing placed keeps every rule: never without a start
for name, expression in tiers:
    left = a.seconds - (time.time() - start)
    if isinstance(expression, int) or left <= 0:
        continue
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = left if name == "cost" else left / 2
    solver.parameters.num_workers = a.workers
    m.minimize(expression)
    m.clear_hints()
    for key, value in best.items():
        m.add_hint(x[key], value)
    status = solver.solve(m)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        print(name, solver.status_name(status))
        break
    best = {key: solver.value(v) for key, v in x.items()}
    values.append(f"{name} {solver.objective_value:.0f} (bound {solver.best_objective_bound:.0f})")
    m.add(expression <= round(solver.objective_value))
print(f"cp-sat {'classes' if a.classes else 'nodes'}: {'; '.join(values)}; {len(x)} counts; {time.time() - start:.1f} s")
if not a.classes:
    json.dump([{"workload": w, "node": bins[b][0], "count": v} for (w, b), v in best.items() if v],
              open(a.placed, "w"))
