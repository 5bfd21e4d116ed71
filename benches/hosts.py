#!/usr/bin/env python3
"""hosts.py RESULT DECIDE LIBWRAP PORTREEVE OUR_LIBRARY_DIR [REPS]: what one decision of hosts.allow and hosts.deny costs.

Runs in a mount namespace of its own (scripts/bench makes it), because it replaces /etc and /var/cache by its own.
Every repetition measures everything once, in rotating order, before all other work of the machine;
the clients match no rule (of many nets, few do), so the original reads all of hosts.deny. Written as the other experiments' rows, for report.py.
"""
import json
import os
import random
import subprocess
import sys

SIZES = (0, 10, 1000, 10000, 100000, 1000000)
KINDS = ('addresses', 'nets')


def write_tables(size, kind):
    r = random.Random(size)
    with open('/etc/hosts.deny', 'w') as deny:
        for _ in range(size):
            net = f'{r.randint(1, 223)}.{r.randint(0, 255)}.{r.randint(0, 255)}'
            deny.write(f'benchd: {net}.{r.randint(1, 254)}\n' if kind == 'addresses' else f'benchd: {net}.0/255.255.255.0\n')
    open('/etc/hosts.allow', 'w').close()


def run(command, library=None):
    env = dict(os.environ)
    env.pop('LD_LIBRARY_PATH', None)
    if library:
        env['LD_LIBRARY_PATH'] = library
    out = subprocess.run(['chrt', '-f', '10', 'taskset', '-c', '0', *command], env=env, capture_output=True, text=True, check=True).stdout
    return json.loads(out)


def fresh(command, library=None):
    """The first decision: the median of seven processes."""
    firsts = sorted(run(command, library)['first_us'] for _ in range(7))
    return firsts[3]


def main():
    result, decide, libwrap, portreeve, ours = sys.argv[1:6]
    reps = int(sys.argv[6]) if len(sys.argv) > 6 else 5
    default, other = ['/etc/hosts.allow', '/etc/hosts.deny'], ['//etc/hosts.allow', '//etc/hosts.deny']
    have_library = os.path.exists(os.path.join(ours, 'libwrap.so.0'))
    rows = []
    for kind in KINDS:
        for size in SIZES:
            write_tables(size, kind)
            subprocess.run([portreeve, 'compile-hosts'], check=True, stdout=subprocess.DEVNULL)
            few = str(max(2, min(20000, 400000 // max(size, 1))))
            many = '100000'

            def libwrap_row():
                row = run([libwrap, *default, few])
                return dict(row, first_us=fresh([libwrap, *default, '1']) if size <= 100000 else row['first_us'])

            def library_row():
                row = run([libwrap, *default, '20000'], ours)
                return dict(row, first_us=fresh([libwrap, *default, '1'], ours))

            def files_row():
                row = run([decide, 'files', *default, '20000'])
                return dict(row, first_us=fresh([decide, 'files', *default, '1']))

            measured = {
                'libwrap': libwrap_row,
                'new-memory': lambda: run([decide, 'memory', *default, many]),
                'new-files': files_row,
                # The same files by a path that is never mapped.
                'new-text': lambda: run([decide, 'files', *other, few]),
            }
            if have_library:
                measured['new-library'] = library_row
            names = list(measured)
            for rep in range(reps):
                turn = names[rep % len(names):] + names[:rep % len(names)]
                for name in turn if rep % 2 == 0 else turn[::-1]:
                    rows.append(dict(measured[name](), server=name, cell=f'{kind} {size}', kind=kind, size=size, rep=rep,
                                     text=os.path.getsize('/etc/hosts.deny')))
                    print(rows[-1], file=sys.stderr)
    with open(result, 'w') as file:
        json.dump(rows, file, indent=0)


if __name__ == '__main__':
    main()
