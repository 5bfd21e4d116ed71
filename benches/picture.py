"""A small picture of a curve as SVG: one x axis by powers of ten, one y axis, a line for each series. Writes nothing itself."""
import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 300, 62, 12, 34, 62
COLOURS = ['#1b6ca8', '#c0392b', '#4d7c2a', '#8e5aa8']


def escaped(text):
    return text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')


def short(number):
    for step, letter in ((1e6, 'M'), (1e3, 'k')):
        if abs(number) >= step:
            return f'{number / step:g}{letter}'
    return f'{number:g}'


def top_of(value):
    """The next round number."""
    power = 10 ** math.floor(math.log10(value)) if value > 0 else 1
    return next(m * power for m in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if m * power >= value)


def draw(title, across, up, series):
    """`series`: {name: [(x, y)]}. x of 0 stands at the left edge; y begins at 0."""
    points = [p for line in series.values() for p in line]
    if not points:
        return ''
    place = lambda x: math.log10(max(x, 1))
    most_x, most_y = max(place(x) for x, _ in points) or 1, top_of(max(y for _, y in points))
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    at = lambda x, y: (LEFT + wide * place(x) / most_x, TOP + high * (1 - y / most_y))
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/><text x="{LEFT}" y="18" font-size="13" font-weight="bold">{escaped(title)}</text>']
    for part in range(5):
        value = most_y * part / 4
        _, y = at(1, value)
        out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/><text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(round(value, 3))}</text>')
    for x in sorted({x for x, _ in points}):
        where, _ = at(x, 0)
        out.append(f'<text x="{where:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{short(x)}</text>')
    out.append(f'<text x="{LEFT + wide / 2:.0f}" y="{HEIGHT - BOTTOM + 32}" text-anchor="middle">{escaped(across)}</text>'
               f'<text transform="translate(14 {TOP + high / 2:.0f})rotate(-90)" text-anchor="middle">{escaped(up)}</text>')
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [at(x, y) for x, y in sorted(line)]
        out.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in places]
        left = LEFT + number * wide / len(series)
        out.append(f'<path d="M{left:.0f} {HEIGHT - 13}h16" stroke="{colour}" stroke-width="2"/><text x="{left + 21:.0f}" y="{HEIGHT - 9}">{escaped(name)}</text>')
    return '\n'.join(out + ['</svg>', ''])
