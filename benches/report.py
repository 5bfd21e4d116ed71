#!/usr/bin/env python3
"""report.py RESULTS README: turns what was measured into tables between the markers of README.

A ratio is the median of the ratios within one repetition: every repetition runs every server, so each server is
paired with the one it is compared with, and what the machine did at that time cancels out.
"""
import datetime
import json
import os
import platform
import re
import statistics
import sys

import goals as goals_table

BEGIN, END = '<!-- bench:begin -->', '<!-- bench:end -->'
# What each server is compared with: the original that does the same work.
PEER = {'new': 'xinetd', 'new-log': 'xinetd-log', 'ledger-log': 'xinetd-log', 'new-wrap-log': 'xinetd-wrap-log'}
SHOWN = {'new': '**portreeve**', 'new-log': '**portreeve**, FILE log', 'ledger-log': '**portreeve**, FILE log, ledger', 'new-wrap-log': '**portreeve**, FILE log, hosts tables (empty)',
         'xinetd-log': 'xinetd, FILE log', 'xinetd-wrap-log': 'xinetd, FILE log, libwrap (empty tables)',
         'lim-contract': 'limit: contract', 'lim-clone3': 'limit: bare clone loop',
         'lim-clone3f': 'limit: clone, shared table', 'lim-echo': 'limit: echo loop', 'lim-acl': 'limit: accept, search, close', 'lim-splice': 'limit: splice loop'}


# How a client of the load experiments fared.
FARED = {'served': 'served', 'refused': 'met a closed port', 'reset': 'reset', 'nothing': 'turned away', 'late': 'no answer'}


def rows_of(results, name):
    path = os.path.join(results, name + '-portreeve.json')
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return json.load(file)


def value(rows, server, cell, key):
    """Median of a key over the repetitions, or None."""
    found = [r[key] for r in rows if r['server'] == server and r.get('cell') == cell and r.get(key) is not None]
    return statistics.median(found) if found else None


def ratio(rows, server, other, cell, key='rate'):
    """Median of the per-repetition ratios server / other, or None."""
    def by_rep(name):
        return {r['rep']: r[key] for r in rows if r['server'] == name and r.get('cell') == cell and r.get(key)}
    mine, theirs = by_rep(server), by_rep(other)
    pairs = [mine[rep] / theirs[rep] for rep in mine if rep in theirs]
    return statistics.median(pairs) if pairs else None


def show(number, digits=0):
    return '–' if number is None else f'{number:,.{digits}f}'


GOALS = '### Goals'


def table(head, lines):
    out = ['| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)]
    return out + ['| ' + ' | '.join(line) + ' |' for line in lines] + ['']


def names(rows, cell=None):
    seen = dict.fromkeys(r['server'] for r in rows if cell is None or r.get('cell') == cell)
    return sorted(seen, key=lambda n: (n.startswith('lim'), n.startswith('new'), n))


def foreign(rows):
    load = [r['foreign'] for r in rows if r.get('foreign') is not None]
    return f'Other work on the machine meanwhile: median {statistics.median(load):.2f} of a core.' if load else ''


def when(results, name):
    """When an experiment ended: sections may be measured anew one by one, and then are not from one run."""
    moment = datetime.datetime.fromtimestamp(os.path.getmtime(os.path.join(results, name + '-portreeve.json')))
    return f'Measured {moment:%Y-%m-%d %H:%M}.'


def rates(rows, title, note, limit):
    """A section with a table per cell: rate, latency, CPU, ratios to the peer and to the limit."""
    out = [f'### {title}', '', note, '']
    for cell in dict.fromkeys(r['cell'] for r in rows):
        lines = []
        for server in names(rows, cell):
            errors = sum(r.get(k, 0) for r in rows if r['server'] == server and r['cell'] == cell
                         for k in ('reset', 'short', 'timeout', 'other', 'refused'))
            lines.append([SHOWN.get(server, server), show(value(rows, server, cell, 'rate')),
                          show(value(rows, server, cell, 'p50_us')), show(value(rows, server, cell, 'p99_us')),
                          show(value(rows, server, cell, 'self_us'), 1), show(value(rows, server, cell, 'ch_us')),
                          show(ratio(rows, server, PEER.get(server, 'xinetd'), cell), 2),
                          show(ratio(rows, server, limit, cell), 2), str(errors)])
        out += [f'**{cell}**', '']
        out += table(['server', 'per second', 'p50 µs', 'p99 µs', 'server CPU µs', 'child CPU µs', '× xinetd (same work)',
                      '× limit', 'errors'], lines)
    return out + [foreign(rows), '']


def bulk(rows):
    out = ['### Redirect, bulk', '', 'A source that writes as fast as it can, through the proxy, to clients that read.', '']
    for cell in dict.fromkeys(r['cell'] for r in rows):
        lines = [[SHOWN.get(server, server), show(value(rows, server, cell, 'gbps'), 2), show(ratio(rows, server, 'xinetd', cell, 'gbps'), 2),
                  show(ratio(rows, server, 'lim-splice', cell, 'gbps'), 2)] for server in names(rows, cell)]
        out += [f'**{cell}**', ''] + table(['server', 'GB/s', '× xinetd', '× limit'], lines)
    return out + [foreign(rows), '']


def refusals(rows):
    out = ['### Refusals', '', 'A client that `only_from` does not name, or that is over `per_source`; 100 source addresses.', '']
    for cell in ('c1', 'c16'):
        lines = [[SHOWN.get(n.split(':')[0], n.split(':')[0]) + ('' if n.startswith('lim') else ', ' + n.split(': ', 1)[1]),
                  show(value(rows, n, cell, 'rate')), show(value(rows, n, cell, 'p50_us')),
                  show((value(rows, n, cell, 'self_us') or 0) + (value(rows, n, cell, 'ch_us') or 0), 1),
                  show(ratio(rows, n, 'xinetd: ' + n.split(': ', 1)[1], cell), 2)]
                 for n in names(rows, cell)]
        out += [f'**{cell}**', ''] + table(['server', 'per second', 'p50 µs', 'CPU µs', '× xinetd'], lines)
    return out + [foreign(rows), '']


def footprint(rows):
    def middle(server, services, key):
        found = [r[key] for r in rows if r['server'] == server and r['ns'] == services]
        return statistics.median(found) if found else None
    out = ['### Footprint', '', 'The supervisor alone, idle; workers start when something first needs them.', '']
    lines = [[SHOWN.get(n, n), str(s), show(middle(n, s, 'startup_ms'), 1), show(middle(n, s, 'cpu_ms'), 1),
              show(middle(n, s, 'pss')), show(middle(n, s, 'rss'))]
             for s in sorted({r['ns'] for r in rows}) for n in names(rows)]
    return out + table(['server', 'services', 'start to listening, ms', 'start CPU, ms', 'PSS KiB', 'RSS KiB'], lines)


def services(one, many):
    out = ['### Many services', '', 'One service and 500; child without libc. The loss is what 499 idle listeners cost.', '']
    lines = []
    for server in names(many):
        for clients in ('c1', 'c16'):
            alone = value(one, server, f'n1-{clients}', 'rate')
            crowd = value(many, server, f'n500-{clients}', 'rate')
            loss = 100 * (1 - crowd / alone) if alone and crowd else None
            lines.append([SHOWN.get(server, server), clients[1:], show(alone), show(crowd), show(loss, 1),
                          show(value(one, server, f'n1-{clients}', 'self_us'), 1),
                          show(value(many, server, f'n500-{clients}', 'self_us'), 1)])
    return out + table(['server', 'connections', '1 service, /s', '500 services, /s', 'loss %', 'CPU µs, 1', 'CPU µs, 500'],
                       lines) + [foreign(one + many), '']


# How a decision is come to, in the section on the tables.
WAYS = {'libwrap': 'libwrap', 'new-library': '**our libwrap.so.0**', 'new-files': '**portreeve**, a process for each client',
        'new-text': '**portreeve**, the same without the map', 'new-memory': '**portreeve**, compiled in memory'}


def hosts_tables(rows):
    out = ['### hosts.allow and hosts.deny', '',
           'One decision about a client that matches no rule, for which libwrap reads both tables. The map is what '
           '`portreeve compile-hosts` writes; short tables are read without it. "First" is that of a fresh process, from '
           'opening the tables to the verdict.', '']
    for kind in dict.fromkeys(r['kind'] for r in rows):
        lines = []
        for size in sorted({r['size'] for r in rows}):
            cell = f'{kind} {size}'
            for server in (n for n in WAYS if value(rows, n, cell, 'us') is not None):
                compiled = value(rows, server, cell, 'bytes')
                per_entry = compiled / size if compiled and size >= 1000 else None
                faster = ratio(rows, 'libwrap', server, cell, 'us')
                lines.append([f'{size:,}', WAYS[server], show(value(rows, server, cell, 'us'), 2),
                              show(value(rows, server, cell, 'first_us')), show(faster, 1),
                              show(value(rows, server, cell, 'compile_ms'), 1), show(per_entry, 1)])
        out += [f'**{kind}**', ''] + table(['rules', 'by', 'µs', 'first, µs', '× faster than libwrap', 'compile, ms',
                                            'bytes a rule'], lines)
    return out


def load(rows, title, note):
    lines = [[r['cell'], 'xinetd' if r['server'] == 'xinetd' else '**portreeve**',
              show(sum(r[how] for how in FARED)), *(show(r[how]) for how in FARED),
              *([show(r['attempts']), show(r['healed'], 1)] if 'healed' in r else [])] for r in rows]
    more = ['attempts of the flood', 'served again after, s'] if 'healed' in rows[0] else []
    return [f'### {title}', '', note, ''] + table(['', 'server', 'clients', *FARED.values(), *more], lines)


REPAIRS = {'one': 'one element deleted', 'set': 'the set flushed', 'chain': 'the chain flushed and the set deleted', 'table': 'the table deleted',
           'ruleset': '`nft flush ruleset`', 'half': 'every other element deleted', 'stranger': 'an element added'}


def bans(rows, packets, repairs):
    """One ban and a hundred thousand; goals of the design among them."""
    shown = (('one ban, from the first SYN to the kernel (handshake and verdict in it), ms: p50', 'one_p50', 3), ('p99', 'one_p99', 3),
             ('the first one, which starts the worker, ms', 'first_ms', 3),
             ('the same beside 100,000, ms: p50', 'beside_p50', 3), ('p99', 'beside_p99', 3),
             ('100,000 by command, until all are in the kernel, s', 'import_enforced', 2),
             ('longest wait of a client that was served meanwhile, ms', 'longest_ms', 1),
             ('CPU of the supervisor meanwhile, ms', 'import_cpu', 0), ('CPU of the supervisor for one ban, ms', 'hit_cpu', 3),
             ('start with 100,000 in the ledger, until all are in the kernel, s', 'restart_enforced', 2),
             ('100,000 removed by command, s', 'removed', 2),
             ('one ban while 100,000 are imported and removed again and again, ms: p50', 'meanwhile_p50', 3), ('p99', 'meanwhile_p99', 3),
             ('longest wait of a client that was served meanwhile, ms', 'longest_meanwhile_ms', 1))
    lines = [[name, show(value(rows, 'new', 'bans', key), digits), show(value(rows, 'nft', 'bans', key), digits)]
             for name, key, digits in shown]
    kernel = [[name, show(value(packets, 'new', 'packets', key), digits)] for name, key, digits in (
        ('100,000 in one transaction, ms (goal: < 1000)', 'many_load_ms', 0),
        ('one more beside them, ms: p50 (goal: < 5)', 'many_add_p50', 3), ('p99', 'many_add_p99', 3),
        ('a comparison of all with the kernel, ms', 'many_look_ms', 0), ('its longest step, for which a ban may wait, ms', 'many_look_step', 3),
        ('the kernel asked for all that it has, ms', 'many_dump_ms', 0), ('its longest step', 'many_dump_step', 3),
        ('a datagram that is sent and taken, without our table, ns', 'none', 0), ('with our table and 1001 bans', 'empty', 0),
        ('with 101,001', 'many', 0), ('one that is dropped, of 1001', 'empty_dropped', 0), ('of 101,001', 'many_dropped', 0))]
    note = ('A sensor is touched from 200 addresses, one after the other; a list is imported; until the kernel has it the ledger has it, too. nft(8) as fail2ban calls it: a process for each '
            'element (without a verdict in front of it), and one file; it stands for the peers, which were not measured themselves.')
    return (['### Bans', '', note, ''] + table(['', '**portreeve**', 'nft'], lines)
            + ['The kernel\'s part alone, without a daemon; sender and receiver of the datagrams share a CPU.', '']
            + table(['', '**portreeve**'], kernel)
            + ['What others do to a table of 100,000 bans that has no owner (as before kernel 5.12), and the firewall worker in its answer (`enforce repair`).', '']
            + table(['', 'all in force again and told of, ms (goal: < 1000)', 'longest wait of one ban, of one each 5 ms meanwhile, ms'],
                    [[text, show(value(repairs, 'new', 'repair', name), 0), show(value(repairs, 'new', 'repair', name + '_ban'), 1)]
                     for name, text in REPAIRS.items()]))


def hosts_goals(rows, reached):
    def worst(server, key, size=100000):
        found = [value(rows, server, f'{kind} {size}', key) for kind in ('addresses', 'nets')]
        found = [number for number in found if number is not None]
        return max(found) if found else None
    empty = ratio(rows, 'new-files', 'libwrap', 'addresses 0', 'us')
    bytes_a_rule = worst('new-memory', 'bytes')
    return [
        reached('hosts tables, 100,000 rules: a decision, µs', '≤ 1', worst('new-memory', 'us'), lambda v: v <= 1),
        reached('the first decision of a fresh process with the map, µs', '≤ 100', worst('new-files', 'first_us'),
                lambda v: v <= 100),
        reached('compiling them, ms', '≤ 150', worst('new-memory', 'compile_ms'), lambda v: v <= 150),
        reached('memory, bytes a rule', '≤ 40', bytes_a_rule / 100000 if bytes_a_rule else None, lambda v: v <= 40),
        reached('empty tables, a process for each client, × libwrap', '≤ 5', empty, lambda v: v <= 5)]


def goals(spawn, refused, memory, hosts):
    """The figures that the project has set itself, with what this run reached."""
    def reached(name, goal, got, better):
        if got is None:
            return [name, goal, '–', 'not measured']
        return [name, goal, show(got, 2), 'reached' if better(got) else '**missed**']
    pss = [r['pss'] for r in memory if r['server'] == 'new' and r['ns'] == 10]
    return [GOALS, ''] + table(['figure', 'goal', 'reached', ''], [
        reached('spawn path, 16 connections, × xinetd', '≥ 2.5', ratio(spawn, 'new', 'xinetd', 'c16'), lambda v: v >= 2.5),
        reached('the same with FILE log on both', '≥ 2.5', ratio(spawn, 'new-log', 'xinetd-log', 'c16'), lambda v: v >= 2.5),
        reached('supervisor CPU, full policy and FILE log, µs a connection', '≤ 32',
                value(spawn, 'new-log', 'c16', 'self_us'), lambda v: v <= 32),
        reached('the same as a multiple of the contract limit (the goal was set where that took 21 µs)', '≤ 1.52',
                ratio(spawn, 'new-log', 'lim-contract', 'c16', 'self_us'), lambda v: v <= 1.52),
        reached('the same: with the ledger, × without', '≤ 1.05',
                ratio(spawn, 'ledger-log', 'new-log', 'c16', 'self_us'), lambda v: v <= 1.05),
        reached('spawn path, 16 connections, share of the contract limit (2.5 of 3.1)', '≥ 0.80',
                ratio(spawn, 'new', 'lim-contract', 'c16'), lambda v: v >= 0.80),
        reached('refusals by address, 16 connections, × xinetd', '≥ 8',
                ratio(refused, 'new: only_from', 'xinetd: only_from', 'c16'), lambda v: v >= 8),
        reached('supervisor PSS with 10 services, MiB', '≤ 2.5', statistics.median(pss) / 1024 if pss else None,
                lambda v: v <= 2.5)] + hosts_goals(hosts, reached))


def estate(rows):
    out = ['### Many services: start, memory, reload', '', 'CPU is the server\'s own, by schedstat; memory is idle, the supervisor alone and with its workers. '
           'A reload that changes nothing, and one that changes each service; the gap is the longest that one client after the other waited '
           'while the server reloaded every 100 ms, and, behind the stroke, when it did not.', '']
    for cell in dict.fromkeys(r['cell'] for r in rows):
        lines = []
        for server in names(rows, cell):
            gaps = [show(value(rows, server, cell, key), 1) for key in ('gap_ms', 'gap_none_ms')]
            lines.append([SHOWN.get(server, server)] + [show(value(rows, server, cell, key), 1) for key in ('start_ms', 'unchanged_ms', 'changed_ms')]
                         + [show(ratio(rows, server, 'xinetd', cell, key), 2) for key in ('start_ms', 'unchanged_ms', 'changed_ms')]
                         + [show(value(rows, server, cell, key)) for key in ('pss', 'pss_all', 'pss_after')] + [' / '.join(gaps), show(value(rows, server, cell, 'lost'))])
        out += [f'**{int(cell):,} services**', '']
        out += table(['server', 'start, ms', 'unchanged, ms', 'all changed, ms', '× xinetd', '× xinetd', '× xinetd', 'PSS KiB', 'with workers',
                      'after reloads', 'gap, ms', 'lost'], lines)
    return out


def machine():
    with open('/proc/cpuinfo') as file:
        model = re.search(r'^model name\s*:\s*(.*)$', file.read(), re.M)
    return (f'{os.cpu_count()} × {model.group(1) if model else platform.machine()}, '
            f'Linux {platform.release()}; server and children pinned to CPU 0, load generator to CPU 1.')


def kept(old, new):
    """`new`, with the sections of `old` whose results are not here: they were measured elsewhere or at another time."""
    def sections(text):
        parts = re.split(r'(?m)^(?=### )', text)
        return parts[0].strip(), {part.split('\n')[0]: part.strip() for part in parts[1:]}
    (head, fresh), (_, before) = sections(new), sections(old)
    # A goal that this run did not measure stays as it was; when that was, its experiment's section says.
    lines = {line.split('|')[1]: line for line in before.get(GOALS, '').split('\n') if line.count('|') > 3}
    fresh[GOALS] = '\n'.join(lines.get(line.split('|')[1], line) if 'not measured' in line else line for line in fresh[GOALS].split('\n'))
    names = list(before) + [name for name in fresh if name not in before]
    text = '\n\n'.join([head, *(fresh.get(name) or before[name] for name in names)])
    return re.sub(r'\n{3,}', '\n\n', text) + '\n'


def main():
    results, readme = sys.argv[1:3]
    spawn, refused, memory = (rows_of(results, n) for n in ('e1', 'e5', 'e7'))
    one, many = rows_of(results, 'e2-n1'), rows_of(results, 'e2-n500')
    hosts = rows_of(results, 'hosts')
    out = [machine(), ''] + goals(spawn, refused, memory, hosts)

    def dated(lines, name):
        return lines[:2] + [when(results, name), ''] + lines[2:]

    if spawn:
        note = ('One process per connection; the child has no libc, so that the server shows. '
                '"limit: contract" does what any super-server must do per connection, without policy.')
        out += dated(rates(spawn, 'Spawn path', note, 'lim-contract'), 'e1')
    if refused:
        out += dated(refusals(refused), 'e5')
    if memory:
        out += dated(footprint(memory), 'e7')
    if many:
        out += dated(services(one, many), 'e2-n500')
    for name, title in (('e3-echo', 'Built-in echo, stream'), ('e3-uecho', 'Built-in echo, datagram'),
                        ('e3-utime', 'Built-in time, datagram')):
        rows = rows_of(results, name)
        if rows:
            out += dated(rates(rows, title, '', 'lim-echo'), name)
    carried = rows_of(results, 'e4-conn')
    if carried:
        note = ('A redirected service before an echo server; each proxy has one thread. "per second" of the persistent connection '
                'are round trips.')
        out += dated(rates(carried, 'Redirect', note, 'lim-splice'), 'e4-conn')
    carried = rows_of(results, 'e4-bulk')
    if carried:
        out += dated(bulk(carried), 'e4-bulk')
    if hosts:
        out += dated(hosts_tables(hosts), 'hosts')
    for name, title, note in (
            ('reload', 'Reloads under load', '1,000 services, 200 reloads a quarter of a second apart that change a limit of '
             'each; four clients that connect to one service after the other without a pause.'),
            ('flood', 'Floods', '`cps = 50 10`. 100 clients with an address each, 20 a second, while others connect as fast '
             'as they can and reset or close at once; then the time until a newcomer is served.')):
        rows = rows_of(results, name)
        if rows:
            out += dated(load(rows, title, note), name)
    rows = rows_of(results, 'estate')
    if rows:
        out += dated(estate(rows), 'estate')
    rows = rows_of(results, 'bans')
    if rows:
        out += dated(bans(*([r for r in rows if r['cell'] == cell] for cell in ('bans', 'packets', 'repair'))), 'bans')
    with open(readme) as file:
        text = file.read()
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    text = before + BEGIN + '\n' + '\n' + kept(old, re.sub(r'\n{3,}', '\n\n', '\n'.join(out))) + END + after
    for name, lines in (('table', goals_table.table), ('curves', curve_lines), ('soak', soak_lines)):
        found = rows_of(results, name)
        if found:
            text = between(text, f'<!-- {name}:begin -->', f'<!-- {name}:end -->', lines(found))
    with open(readme, 'w') as file:
        file.write(text)


def between(text, begin, end, lines):
    """The text with these lines between two marks."""
    before, rest = text.split(begin)
    return before + begin + '\n' + re.sub(r'\n{3,}', '\n\n', '\n'.join(lines)).strip() + '\n' + end + rest.split(end)[1]


# What the points of a curve say, by key: head, digits.
POINTS = {'ours_us': ('CPU a connection, µs', 1), 'supervisor_us': ('of it the supervisor, µs', 1), 'xinetd_us': ('xinetd, µs', 1), 'ours_kib': ('PSS, KiB', 0),
          'xinetd_kib': ('xinetd, KiB', 0), 'all_kib': ('all processes, KiB', 0), 'grown_kib': ('grown by, KiB', 0), 'bytes_each': ('bytes an instance', 0),
          'ours_start_ms': ('start, ms of CPU', 1), 'xinetd_start_ms': ('xinetd, ms', 1), 'kept': ('in force', 0), 'running': ('run', 0), 'left': ('left at the end', 0)}


def curve_lines(found):
    out = []
    for name, curve in found.items():
        keys = [k for k in POINTS if any(k in row for row in curve['points'].values())]
        out += [f'**{name}**', '', f'{curve["when"]}, load {curve["load"]:.1f}.', '', f'![cost](curve-{name}-cost.svg) ![memory](curve-{name}-memory.svg)', '']
        out += table([name] + [POINTS[k][0] for k in keys],
                     [[f'{int(size):,}'] + [show(row.get(k), POINTS[k][1]) for k in keys] for size, row in curve['points'].items()])
    return out


def soak_lines(found):
    out = [f'{found["when"]}, {found["minutes"]:g} minutes, {found["reloads"]} reloads and rotations, load {found["load"]:.1f}: '
           + ('; '.join(found['wrong']) or 'memory is flat, nothing is left') + '.', '']
    out += table(['process', 'KiB before', 'descriptors', 'KiB after', 'descriptors', 'at most, KiB'],
                 [[what, *(show(v) for v in found['first'].get(what, (None, None))), *(show(v) for v in held), show(found['most'].get(what))]
                  for what, held in sorted(found['last'].items())])
    return out + table(['clients of', 'served', 'not'], [[name, show(row['ok']), show(row['errors'])] for name, row in found['clients'].items()])


if __name__ == '__main__':
    main()
