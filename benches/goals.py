#!/usr/bin/env python3
"""goals.py RESULT: the table of goals, from what table.py has measured. Every row is printed: reached, missed, or unmeasured.

A ratio is the median of the ratios within one repetition. A goal that is a time is also judged as what it is beside the limit of the same
run, where it was set on a machine of another speed; the cell says so.
"""
import json
import os
import statistics
import sys


class Rows:
    """What was measured."""

    def __init__(self, rows):
        self.rows = rows

    def found(self, part, server, cell, key):
        """By repetition."""
        return {r['rep']: r[key] for r in self.rows if r['part'] == part and r.get('server') == server and r.get('cell') == cell
                and r.get(key) is not None}

    def middle(self, part, server, cell, key='rate'):
        values = self.found(part, server, cell, key).values()
        return statistics.median(values) if values else None

    def ratio(self, part, server, other, cell, key='rate', other_cell=None):
        mine, theirs = self.found(part, server, cell, key), self.found(part, other, other_cell or cell, key)
        pairs = [mine[rep] / theirs[rep] for rep in mine if theirs.get(rep)]
        return statistics.median(pairs) if pairs else None

    def beyond(self, part, server, other, cell, key):
        """Median of the differences within a repetition."""
        mine, theirs = self.found(part, server, cell, key), self.found(part, other, cell, key)
        pairs = [mine[rep] - theirs[rep] for rep in mine if rep in theirs]
        return statistics.median(pairs) if pairs else None

    def total(self, part, server, key='errors'):
        values = [r[key] for r in self.rows if r['part'] == part and r.get('server') == server and r.get(key) is not None]
        return sum(values) if values else None

    def best(self, part, servers, cell, key='rate', least=False):
        """The best of the peers that were measured: (name, median)."""
        found = [(self.middle(part, s, cell, key), s) for s in servers if self.middle(part, s, cell, key) is not None]
        if not found:
            return None
        value, name = min(found) if least else max(found)
        return name, value


def show(value, digits=0):
    return '–' if value is None else f'{value:,.{digits}f}'


def peer(best, digits=0, scale=1):
    return '–' if best is None else f'{best[0]} {best[1] / scale:,.{digits}f}'


def over(best, mine):
    """Ours beside a peer's."""
    return None if best is None or mine is None else mine / best[1]


def judge(checks):
    """(text, value, reached or None) of each figure; in one cell and one word."""
    texts = [f'{text} {value}' for text, value, _ in checks]
    known = [reached for _, _, reached in checks if reached != 'shown']
    if not known:
        word = 'shown, no goal'
    elif False in known:
        word = '**missed**'
    elif 'beside' in known and None not in known:
        word = 'reached beside the limit'
    elif None in known:
        word = 'unmeasured' if all(k is None for k in known) else 'unmeasured in part'
    else:
        word = 'reached'
    return '; '.join(texts), word


def at_least(text, value, goal, digits=2):
    return text, f'{show(value, digits)} (≥ {goal})', None if value is None else value >= goal


def at_most(text, value, goal, digits=2):
    return text, f'{show(value, digits)} (≤ {goal})', None if value is None else value <= goal


def timed(text, value, goal, ratio, most, digits=1):
    """A goal that is a time, and what it was beside the limit where it was set: on a slower machine the second is what can be reached."""
    if value is None or value <= goal:
        return at_most(text, value, goal, digits)
    said = f'{show(value, digits)} (≤ {goal}), × limit {show(ratio, 2)} (≤ {most})'
    return text, said, None if ratio is None else 'beside' if ratio <= most else False


def fast(value, goal, ratio, least):
    """The same of a rate."""
    if value is None or value >= goal:
        return at_least('GB/s', value, goal)
    said = f'{show(value, 2)} (≥ {goal}), × limit {show(ratio, 2)} (≥ {least})'
    return 'GB/s', said, None if ratio is None else 'beside' if ratio >= least else False


def ahead(text, value):
    """A ratio to a peer; within 0.05 it is a tie."""
    word = None if value is None else 'a tie' if 0.95 < value < 1.05 else 'ahead' if value > 1 else 'behind'
    return text, f'{show(value, 2)}{"" if word is None else f", {word}"}', None if value is None else value > 0.95


def only(text, value):
    """A figure that is no goal."""
    return text, show(value, 2), 'shown'


def lines(r):
    """Rows of the table: what, xinetd, best peer, limit, ours, checks."""
    proxies = ['nginx', 'haproxy', 'haproxy-splice']
    full, contract = r.middle('spawn', 'ours-full', 'c16', 'own_us'), r.middle('spawn', 'lim-contract', 'c16', 'own_us')
    yield ('spawn path, 16 at once, connections/s', f'{show(r.middle("spawn", "xinetd", "c16"))} ({show(r.middle("spawn", "xinetd-wrap-log", "c16"))} with libwrap and log)',
           peer(r.best('spawn', ['tcpserver'], 'c16')), f'contract {show(r.middle("spawn", "lim-contract", "c16"))}; clone loop {show(r.middle("spawn", "lim-clone3", "c16"))}',
           f'{show(r.middle("spawn", "ours-full", "c16"))} with tables, log, ledger; {show(r.middle("spawn", "ours", "c16"))} without',
           [at_least('of contract', r.ratio('spawn', 'ours-full', 'lim-contract', 'c16'), 0.95)])
    yield ('the same with an ordinary dynamic child', show(r.middle('dynamic', 'xinetd', 'c16')), peer(r.best('dynamic', ['tcpserver'], 'c16')),
           f'contract {show(r.middle("dynamic", "lim-contract", "c16"))}; clone loop {show(r.middle("dynamic", "lim-clone3", "c16"))}', show(r.middle('dynamic', 'ours-full', 'c16')),
           [at_least('of the clone loop', r.ratio('dynamic', 'ours-full', 'lim-clone3', 'c16'), 0.95), only('of contract', r.ratio('dynamic', 'ours-full', 'lim-contract', 'c16'))])
    extra = r.beyond('spawn', 'ours-full', 'lim-contract', 'c16', 'own_us')
    yield ('supervisor CPU a spawned connection, µs', show(r.middle('spawn', 'xinetd-wrap-log', 'c16', 'own_us'), 1), peer(r.best('spawn', ['tcpserver'], 'c16', 'own_us', True), 1),
           f'contract {show(contract, 1)}', f'{show(full, 1)} with tables, log, ledger', [timed('beyond contract, µs', extra, 6, r.ratio('spawn', 'ours-full', 'lim-contract', 'c16', 'own_us'), 1.29)])
    yield ('p99 at 128 at once, dynamic child, ms', show(r.middle('dynamic', 'xinetd', 'c128', 'p99_us') and r.middle('dynamic', 'xinetd', 'c128', 'p99_us') / 1000),
           peer(r.best('dynamic', ['tcpserver'], 'c128', 'p99_us', True), 0, 1000),
           show(r.middle('dynamic', 'lim-clone3', 'c128', 'p99_us') and r.middle('dynamic', 'lim-clone3', 'c128', 'p99_us') / 1000),
           show(r.middle('dynamic', 'ours-full', 'c128', 'p99_us') and r.middle('dynamic', 'ours-full', 'c128', 'p99_us') / 1000),
           [at_most('× limit', r.ratio('dynamic', 'ours-full', 'lim-clone3', 'c128', 'p99_us'), 1.1), only('× contract', r.ratio('dynamic', 'ours-full', 'lim-contract', 'c128', 'p99_us'))])
    slower = [r.ratio('services', s, s, 'c16 n500', other_cell='c16 n1') for s in ('xinetd', 'lim-clone3f', 'ours')]
    lost = [None if s is None else 100 * (1 - s) for s in slower]
    yield ('500 services configured, connections/s', f'{show(r.middle("services", "xinetd", "c16 n500"))} ({show(lost[0])} % slower)', '–',
           f'{show(r.middle("services", "lim-clone3f", "c16 n500"))} ({show(lost[1], 1)} % slower)', show(r.middle('services', 'ours', 'c16 n500')),
           [at_most('% slower than one', lost[2], 3, 1)])
    flat = r.ratio('held', 'ours-held', 'ours', 'c1', 'all_us')
    yield ('parent holding 512 MiB, CPU a spawn, µs', f'fork: {show(r.middle("held", "lim-fork", "c1", "all_us"))}', '–', show(r.middle('held', 'lim-clone3', 'c1', 'all_us')),
           f'{show(r.middle("held", "ours-held", "c1", "all_us"))}; without {show(r.middle("held", "ours", "c1", "all_us"))}', [at_most('× without', flat, 1.05)])
    yield ('refusals by address, 16 at once, connections/s', f'{show(r.middle("refusals", "xinetd", "c16"))}; {show(r.middle("refusals", "xinetd", "c16", "all_us"))} µs', '–',
           f'{show(r.middle("refusals", "lim-acl", "c16"))}; {show(r.middle("refusals", "lim-acl", "c16", "all_us"), 1)} µs',
           f'{show(r.middle("refusals", "ours", "c16"))}; {show(r.middle("refusals", "ours", "c16", "all_us"), 1)} µs',
           [at_least('of limit', r.ratio('refusals', 'ours', 'lim-acl', 'c16'), 0.85), at_most('all CPU × limit', r.ratio('refusals', 'ours', 'lim-acl', 'c16', 'all_us'), 1.5),
            timed('supervisor with log and ledger, µs', r.middle('refusals', 'ours-log-ledger', 'c16', 'own_us'), 9,
                  r.ratio('refusals', 'ours-log-ledger', 'lim-acl', 'c16', 'own_us'), 1.53)])
    yield ('refusals by hosts.deny of 10,000 lines', show(r.middle('tables', 'xinetd-wrap', 'c16')), '–', show(r.middle('tables', 'lim-acl', 'c16')), show(r.middle('tables', 'ours-wrap', 'c16')),
           [at_least('of limit', r.ratio('tables', 'ours-wrap', 'lim-acl', 'c16'), 0.80)])
    yield ('built-in echo, connection an echo', f'{show(r.middle("echo", "xinetd", "c16"))}; {show(r.middle("echo", "xinetd", "c16", "all_us"))} µs', '–',
           f'{show(r.middle("echo", "lim-echo", "c16"))}; {show(r.middle("echo", "lim-echo", "c16", "all_us"), 1)} µs',
           f'{show(r.middle("echo", "ours", "c16"))}; {show(r.middle("echo", "ours", "c16", "all_us"), 1)} µs',
           [at_least('of limit', r.ratio('echo', 'ours', 'lim-echo', 'c16'), 0.85), at_most('all CPU × limit', r.ratio('echo', 'ours', 'lim-echo', 'c16', 'all_us'), 1.7)])
    yield ('built-in echo, UDP round trips', f'{show(r.middle("datagrams", "xinetd", "c16"))}, {show(r.total("datagrams", "xinetd"))} lost', '–', show(r.middle('datagrams', 'lim-echo', 'c16')),
           show(r.middle('datagrams', 'ours', 'c16')), [at_least('of limit', r.ratio('datagrams', 'ours', 'lim-echo', 'c16'), 0.60), at_most('lost', r.total('datagrams', 'ours'), 0, 0)])
    best = r.best('carried', proxies, 'c16')
    yield ('redirect, connection an echo', show(r.middle('carried', 'xinetd', 'c16')), peer(best), f'splice {show(r.middle("carried", "lim-splice", "c16"))}; copy {show(r.middle("carried", "lim-copy", "c16"))}',
           f'{show(r.middle("carried", "ours", "c16"))}; {show(r.middle("carried", "ours", "c16", "all_us"), 1)} µs',
           [ahead('× ' + s, r.ratio('carried', 'ours', s, 'c16')) for s in proxies[:2]] + [only('CPU × ' + s, r.ratio('carried', 'ours', s, 'c16', 'all_us')) for s in proxies[:2]]
           + [only('× nginx with proxy_half_close', r.ratio('carried', 'ours', 'nginx-half', 'c16')), only('CPU × it', r.ratio('carried', 'ours', 'nginx-half', 'c16', 'all_us'))])
    best = r.best('bulk', proxies, 'c1', 'gbps')
    yield ('redirect, bulk, one stream, GB/s', show(r.middle('bulk', 'xinetd', 'c1', 'gbps'), 2), peer(best, 2),
           f'copy {show(r.middle("bulk", "lim-copy", "c1", "gbps"), 2)}; splice {show(r.middle("bulk", "lim-splice", "c1", "gbps"), 2)}', show(r.middle('bulk', 'ours', 'c1', 'gbps'), 2),
           [fast(r.middle('bulk', 'ours', 'c1', 'gbps'), 2.0, r.ratio('bulk', 'ours', 'lim-copy', 'c1', 'gbps'), 0.87)] + [ahead('× ' + s, r.ratio('bulk', 'ours', s, 'c1', 'gbps')) for s in proxies]
           + [only('CPU a byte × ' + s, r.ratio('bulk', 'ours', s, 'c1', 'gb_ms')) for s in ('lim-copy', 'nginx', 'haproxy')])
    mib = {s: r.middle('parked', s, '500', 'pss_kib') for s in ('xinetd', 'nginx', 'haproxy', 'ours', 'lim-splice')}
    carrier, grown = r.middle('parked', 'ours', '500', 'carrier_kib'), r.middle('parked', 'ours', '500', 'grown_kib')
    both = None if carrier is None or grown is None else (carrier + grown) / 1000
    yield ('500 idle redirected connections, MB', f'{show(mib["xinetd"] and mib["xinetd"] / 1000)} in {show(r.middle("parked", "xinetd", "500", "processes"))} processes',
           peer(r.best('parked', ['nginx', 'haproxy'], '500', 'pss_kib', True), 1, 1000), show(mib['lim-splice'] and mib['lim-splice'] / 1000, 1),
           f'{show(carrier and carrier / 1000, 1)} in the process that carries; {show(mib["ours"] and mib["ours"] / 1000, 1)} in all processes', [at_most('the process that carries, and what the supervisor grew by, MB', both, 4, 1)])
    small = {(s, n): r.middle('footprint', s, n, 'pss_kib') for s in ('xinetd', 'lim-clone3', 'ours') for n in ('10', '1000')}
    in_mib = {k: v and v / 1024 for k, v in small.items()}
    staffed = {n: r.middle('footprint', 'ours-staffed', n, 'all_pss_kib') for n in ('10', '1000')}
    staffed = {k: v and v / 1024 for k, v in staffed.items()}
    yield ('idle, 10 / 1000 services: supervisor PSS, MiB', ' / '.join(show(in_mib['xinetd', n], 1) for n in ('10', '1000')), '–', ' / '.join(show(in_mib['lim-clone3', n], 2) for n in ('10', '1000')),
           ' / '.join(show(in_mib['ours', n], 2) for n in ('10', '1000')) + '; all processes, each worker there, ' + ' / '.join(show(staffed[n], 1) for n in ('10', '1000')),
           [at_most('10', in_mib['ours', '10'], 1.5), at_most('1000', in_mib['ours', '1000'], 2.2), at_most('all, 10', staffed['10'], 6, 1), at_most('all, 1000', staffed['1000'], 6, 1)])
    yield ('start, CPU with 1000 services, ms', show(r.middle('footprint', 'xinetd', '1000', 'start_ms'), 1), '–', show(r.middle('footprint', 'lim-clone3', '1000', 'start_ms'), 1),
           show(r.middle('footprint', 'ours', '1000', 'start_ms'), 1), [timed('ms', r.middle('footprint', 'ours', '1000', 'start_ms'), 10, r.ratio('footprint', 'ours', 'lim-clone3', '1000', 'start_ms'), 1.67)])
    yield ('reload, CPU with 1000 services, unchanged / all changed, ms', ' / '.join(show(r.middle('footprint', 'xinetd', '1000', k), 1) for k in ('unchanged_ms', 'changed_ms')), '–', '–',
           ' / '.join(show(r.middle('footprint', 'ours', '1000', k), 1) for k in ('unchanged_ms', 'changed_ms')),
           [at_most('unchanged', r.middle('footprint', 'ours', '1000', 'unchanged_ms'), 3, 1), at_most('changed', r.middle('footprint', 'ours', '1000', 'changed_ms'), 6, 1)])
    gaps = {s: [show(r.middle('footprint', s, '1000', k), 1) for k in ('gap_ms', 'gap_none_ms')] for s in ('xinetd', 'ours')}
    yield ('largest gap of a client, 1000 services changed ten times a second, ms', '{} (without reloads {})'.format(*gaps['xinetd']), '–', '–',
           '{} (without reloads {})'.format(*gaps['ours']),
           [at_most('ms', r.middle('footprint', 'ours', '1000', 'gap_ms'), 5, 1), at_most('lost', r.total('footprint', 'ours', 'lost'), 0)])
    cells = ['spawn', 'echo', 'refusals', 'redirect']
    yield ('on both cores beside one, connections/s', '–', '–', '–', '; '.join(f'{c} {show(r.middle("cores", "both", c))} beside {show(r.middle("cores", "one", c))}' for c in cells),
           [only(f'× one, {c}', r.ratio('cores', 'both', 'one', c)) for c in cells])


def table(found):
    """Lines of markdown."""
    r = Rows(found['rows'])
    out = ['| what | xinetd | best peer | limit | portreeve | to reach |  |', '|---|---|---|---|---|---|---|']
    for what, theirs, others, limit, mine, checks in lines(r):
        text, word = judge(checks)
        out.append(f'| {what} | {theirs} | {others} | {limit} | {mine} | {text} | {word} |')
    about = [row for row in found['rows'] if row['part'] == 'about']
    out += ['', 'Measured: ' + '; '.join(f'{a["of"]} {a["when"]}, load {a["load"]:.1f}' + ('' if a['foreign'] is None else f', others had {a["foreign"]:.2f} of a core')
                                       + (f', {a["shared"]} of {a["goes"]} goes on a shared core' if a.get('goes') else '')
                                         for a in about) + '.', '']
    return out


if __name__ == '__main__':
    if not os.path.exists(sys.argv[1]):
        sys.exit(f'{sys.argv[1]}: not measured yet')
    with open(sys.argv[1]) as file:
        print('\n'.join(table(json.load(file))))
