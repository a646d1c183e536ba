"""Reads an interval log with PyPI's hdrhistogram, and compares it with raw samples.

Usage: read_hlog.py LOG SAMPLES. Prints, as JSON, for each measure the counts by lowest value of each bucket: as the log
has them, and as one histogram of the samples has them.
"""

import json
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader


def new():
    return HdrHistogram(1, 3600000000, 3)


def counts(histogram):
    found = {}
    for index in range(histogram.counts_len):
        count = histogram.get_count_at_index(index) if histogram.total_count else 0
        if count:
            found[str(histogram.get_value_from_index(index))] = count
    return found


def read_log(name):
    reader = HistogramLogReader(name, new())
    sums = {}
    lines = {}
    while True:
        part = reader.get_next_interval_histogram()
        if part is None:
            break
        tag = part.get_tag()
        sums.setdefault(tag, new()).add(part)
        lines[tag] = lines.get(tag, 0) + 1
    reader.close()
    return sums, lines


def read_samples(name):
    sums = {}
    with open(name, encoding="utf-8") as samples:
        for line in samples:
            measure, subject, _group, _tag, _segment, value = line.split()
            if subject.startswith("step:"):
                histogram = sums.setdefault(measure, new())
                if not histogram.record_value(int(value)):
                    raise ValueError("a sample is out of range: " + line)
    return sums


def main():
    log, lines = read_log(sys.argv[1])
    samples = read_samples(sys.argv[2])
    result = {
        measure: {
            "intervals": lines.get(measure, 0),
            "log": counts(log[measure]) if measure in log else {},
            "samples": counts(samples[measure]) if measure in samples else {},
        }
        for measure in ("response", "service")
    }
    json.dump(result, sys.stdout)


main()
