"""Plots as SVG files. Without matplotlib there are none, and a warning."""

from .results import FIGURES, WORKLOAD_OF, title
from .workloads import OURS

# Okabe and Ito's colours, which people see apart who do not see all colours.
COLOURS = {
    OURS: "#0072B2",
    "cellgate-direct-off": "#56B4E9",
    "bare-pingora": "#999999",
    "nginx": "#009E73",
    "nginx-default-buffers": "#80CFB9",
    "haproxy": "#E69F00",
    "envoy": "#CC79A7",
    "caddy": "#D55E00",
}
PANELS_PER_ROW = 3
# Behind figures that may stand on a line.
WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
# Text stays text, ids do not change from run to run, and no date is in the file.
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "cellgate",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
}


def draw(results, folder):
    """Draws what there is to draw; returns lines that say what happened."""
    try:
        import matplotlib

        matplotlib.use("svg")
        from matplotlib import pyplot
    except ImportError:
        return ["NO PLOTS: matplotlib is missing; `loadtest/setup-tools.sh compare` installs it"]
    written = []
    with matplotlib.rc_context(STYLE):
        for name, plot in (
            ("cpu", plot_cpu),
            ("ratio", plot_ratios),
            ("p99", plot_latency),
            ("memory", plot_memory),
            ("instructions", plot_instructions),
        ):
            if figure := plot(results, pyplot):
                footer(figure, results)
                figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
                pyplot.close(figure)
                written.append(f"{name}.svg")
    return [f"plots: {', '.join(written)}"]


def of_kind(results, kind):
    return [name for name in results.rounds if WORKLOAD_OF[name].kind == kind]


def footer(figure, results):
    machine = results.machine
    text = f"{results.date}, {machine['cores']} cores of {machine['cpu']}, commit {results.commit}"
    figure.text(0.01, -0.01, text, fontsize=7, color="#666666", va="top")


def label_ends(axes, ends, texts):
    """Writes figures behind the ends of horizontal bars, and makes room for them."""
    room = max(ends) * 0.02
    for place, (end, text) in enumerate(zip(ends, texts, strict=True)):
        axes.text(end + room, place, text, va="center", fontsize=8)
    axes.set_xlim(0, max(ends) * 1.22)


def label_median(axes, spread, place):
    text, point = f"{spread.median:.2f}", (spread.median, place)
    axes.annotate(text, point, (0, 7), textcoords="offset points", ha="center", fontsize=8, bbox=WHITE)


def peer_bars(axes, results, name, figure, form):
    """A bar with the median of each proxy, and a line from quartile to quartile."""
    peers = results.peers(name)
    spreads = [results.spread(name, peer, figure) for peer in peers]
    places = range(len(peers))
    medians = [spread.median for spread in spreads]
    axes.barh(places, medians, color=[COLOURS[peer] for peer in peers], height=0.7)
    if spreads[0].count > 1:
        below = [spread.median - spread.low for spread in spreads]
        above = [spread.high - spread.median for spread in spreads]
        axes.errorbar(medians, places, xerr=[below, above], fmt="none", ecolor="black", elinewidth=1, capsize=2.5)
    label_ends(axes, [max(spread.high, spread.median) for spread in spreads], [form(value) for value in medians])
    finish_peers(axes, peers)


def finish_peers(axes, peers):
    axes.set_yticks(range(len(peers)), [title(peer) for peer in peers])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def plot_cpu(results, pyplot):
    names = of_kind(results, "cpu")
    if not names:
        return None
    columns = min(PANELS_PER_ROW, len(names))
    rows = -(-len(names) // columns)
    most = max(len(results.peers(name)) for name in names)
    figure, grid = pyplot.subplots(
        rows, columns, figsize=(4.4 * columns, (0.9 + 0.26 * most) * rows), squeeze=False, layout="constrained"
    )
    panels = [axes for row in grid for axes in row]
    for axes, name in zip(panels, names, strict=False):
        peer_bars(axes, results, name, "cpu_us", lambda value: f"{value:,.0f}" if value >= 100 else f"{value:.1f}")
        axes.set_title(WORKLOAD_OF[name].title)
        axes.set_xlabel(FIGURES["cpu"][1])
    for axes in panels[len(names) :]:
        axes.axis("off")
    figure.suptitle(
        "CPU time of the proxy per request: median of the rounds, quartiles; less is better", x=0.01, ha="left"
    )
    return figure


def plot_ratios(results, pyplot):
    """Ours against the better baseline of each round: every round a dot, so that nobody has to trust a median."""
    rows = []
    for name in results.rounds:
        if WORKLOAD_OF[name].kind in ("cpu", "latency") and (spread := results.ratio(name, OURS, "better")):
            rows.append((name, spread, results.round_ratios(name, OURS, "better")))
    if not rows:
        return None
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.36 * len(rows)), layout="constrained")
    for place, (_, spread, dots) in enumerate(rows):
        axes.plot(dots, [place] * len(dots), "o", color=COLOURS[OURS], alpha=0.25, markersize=5, markeredgewidth=0)
        axes.plot([spread.low, spread.high], [place, place], color="black", linewidth=1)
        axes.plot([spread.median], [place], "D", color="black", markersize=4.5)
        label_median(axes, spread, place)
    axes.axvline(1, color=COLOURS["haproxy"], linewidth=1.5)
    axes.set_yticks(range(len(rows)), [row_title(name) for name, _, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.7)
    axes.set_xlim(left=0)
    axes.set_xlabel("cellgate ÷ the better of nginx and HAProxy in the same round (line: the same as the better)")
    figure.suptitle("Every round a dot; diamond: median; black line: quartiles; less is better", x=0.01, ha="left")
    return figure


def row_title(name):
    workload = WORKLOAD_OF[name]
    return workload.title if workload.kind == "latency" else f"CPU, {workload.title}"


def plot_latency(results, pyplot):
    names = of_kind(results, "latency")
    if not names:
        return None
    name = names[0]
    peers = results.peers(name)
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.45 * len(peers)), layout="constrained")
    for place, peer in enumerate(peers):
        values, spread = results.values(name, peer, "p99_ms"), results.spread(name, peer, "p99_ms")
        axes.plot(values, [place] * len(values), "o", color=COLOURS[peer], alpha=0.35, markersize=6, markeredgewidth=0)
        axes.plot([spread.low, spread.high], [place, place], color="black", linewidth=1)
        axes.plot([spread.median], [place], "D", color="black", markersize=5)
        label_median(axes, spread, place)
    finish_peers(axes, peers)
    axes.set_ylim(len(peers) - 0.5, -0.7)
    axes.set_xlim(left=0)
    rate = results.values(name, peers[0], "rate")[0]
    axes.set_xlabel(f"99th percentile of latency in a round, ms, at {rate:,} requests a second")
    axes.set_title("Open loop: every round a dot; diamond: median; less is better")
    return figure


def plot_memory(results, pyplot):
    names = of_kind(results, "memory")
    if not names:
        return None
    figures = results.rounds[names[0]][0]
    peers = list(figures)
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.5 * len(peers)), layout="constrained")
    for shift, key, alpha in ((-0.19, "fresh_bytes", 0.45), (0.19, "used_bytes", 1)):
        values = [figures[peer][key] / 1000 for peer in peers]
        places = [place + shift for place in range(len(peers))]
        axes.barh(places, values, height=0.36, color=[COLOURS[peer] for peer in peers], alpha=alpha)
        words = {"fresh_bytes": "fresh", "used_bytes": "after a request"}[key]
        for place, value in zip(places, values, strict=True):
            axes.annotate(
                f"{value:.1f} {words}", (value, place), (4, 0), textcoords="offset points", va="center", fontsize=8
            )
    finish_peers(axes, peers)
    axes.set_xlim(0, max(figures[peer]["used_bytes"] for peer in peers) / 1000 * 1.25)
    count = figures[peers[0]]["connections"]
    axes.set_xlabel(f"kB of the proxy's memory per idle connection, {count:,} connections")
    axes.set_title("Memory per idle connection; less is better")
    return figure


def plot_instructions(results, pyplot):
    names = of_kind(results, "instructions")
    if not names:
        return None
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.36 * len(results.peers(names[0]))), layout="constrained")
    peer_bars(axes, results, names[0], "instructions", lambda value: f"{value:,.0f}")
    axes.set_xlabel("instructions in user space per small GET, by callgrind")
    axes.set_title("User instructions per request; less is better")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return figure
