"""Profiles in pprof's format, read by protobuf's runtime, and by pprof itself where Go is there."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from bigmachine.profiling import Frame, Profile, Sample, ValueType

# The fields of pprof's proto/profile.proto: type, name and number; a star is for many.
SCHEMA = """
Profile: *ValueType sample_type 1, *Sample sample 2, *Mapping mapping 3, *Location location 4,
  *Function function 5, *string string_table 6, int64 drop_frames 7, int64 keep_frames 8,
  int64 time_nanos 9, int64 duration_nanos 10, ValueType period_type 11, int64 period 12,
  *int64 comment 13, int64 default_sample_type 14
ValueType: int64 type 1, int64 unit 2
Sample: *uint64 location_id 1, *int64 value 2, *Label label 3
Label: int64 key 1, int64 str 2, int64 num 3, int64 num_unit 4
Mapping: uint64 id 1, uint64 memory_start 2, uint64 memory_limit 3, uint64 file_offset 4,
  int64 filename 5, int64 build_id 6, bool has_functions 7, bool has_filenames 8,
  bool has_line_numbers 9, bool has_inline_frames 10
Location: uint64 id 1, uint64 mapping_id 2, uint64 address 3, *Line line 4, bool is_folded 5
Line: uint64 function_id 1, int64 line 2
Function: uint64 id 1, int64 name 2, int64 system_name 3, int64 filename 4, int64 start_line 5
"""


def profile_class():
    file = descriptor_pb2.FileDescriptorProto(
        name="profile.proto", package="perftools.profiles", syntax="proto3"
    )
    for name, fields in re.findall(r"(\w+): (.*?)(?=\n\w|\n$)", SCHEMA, re.S):
        message = file.message_type.add(name=name)
        for star, kind, field, number in re.findall(r"(\*?)(\w+) (\w+) (\d+)", fields):
            label = "LABEL_REPEATED" if star else "LABEL_OPTIONAL"
            added = message.field.add(name=field, number=int(number))
            added.label = getattr(descriptor_pb2.FieldDescriptorProto, label)
            if kind[0].isupper():
                added.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
                added.type_name = f".perftools.profiles.{kind}"
            else:
                added.type = getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName("perftools.profiles.Profile")
    return message_factory.GetMessageClass(found)


LEAF = Frame("CirclePI.sample", "/π/bigpi.py", 300, 36)
ROOT = Frame("main", "/π/bigpi.py", 7, 5)
PROFILE = Profile(
    value_types=(ValueType("wall", "nanoseconds"), ValueType("cpu", "nanoseconds")),
    samples=(
        Sample((LEAF, ROOT), (2**40, 10**9), (("machine", "m0"), ("thread", "worker"))),
        Sample((LEAF, ROOT), (200, 0), (("machine", "m1"),)),
        Sample((Frame("[profiler]"),), (-1, 5)),
    ),
    started_at=1_700_000_000.5,
    seconds=10.25,
    period=0.01,
    failures={"m2": "it stopped"},
    notes=("a note",),
)


def decoded(profile):
    message = profile_class()()
    data = gzip.decompress(profile.to_pprof())
    assert message.ParseFromString(data) == len(data)
    assert message.SerializeToString(deterministic=True)  # nothing unknown, nothing malformed
    return message


def test_protobuf_reads_the_same_stacks_values_and_labels():
    message = decoded(PROFILE)
    text = message.string_table
    functions = {f.id: f for f in message.function}
    locations = {at.id: at for at in message.location}

    def frame(number):
        [line] = locations[number].line
        function = functions[line.function_id]
        return Frame(text[function.name], text[function.filename], line.line, function.start_line)

    samples = tuple(
        Sample(
            tuple(map(frame, sample.location_id)),
            tuple(sample.value),
            tuple((text[label.key], text[label.str]) for label in sample.label),
        )
        for sample in message.sample
    )
    assert samples == PROFILE.samples
    assert text[0] == ""


def test_protobuf_reads_what_is_said_about_the_profile():
    message = decoded(PROFILE)
    text = message.string_table
    kinds = [(text[kind.type], text[kind.unit]) for kind in message.sample_type]
    assert kinds == [("wall", "nanoseconds"), ("cpu", "nanoseconds")]
    assert text[message.default_sample_type] == text[message.period_type.type] == "cpu"
    assert message.time_nanos == 1_700_000_000_500_000_000
    assert message.duration_nanos == 10_250_000_000
    assert message.period == 10_000_000
    assert [text[comment] for comment in message.comment][1:] == [
        "not in it: m2: it stopped",
        "a note",
    ]
    [mapping] = message.mapping
    assert mapping.has_functions
    assert {location.mapping_id for location in message.location} == {mapping.id}


def test_equal_functions_and_lines_are_written_once():
    message = decoded(PROFILE)
    assert (len(message.function), len(message.location)) == (3, 3)
    assert len(set(message.string_table)) == len(message.string_table)


def test_names_that_utf8_can_not_express_are_replaced():
    odd = Profile((ValueType("n", "count"),), (Sample((Frame("\udc80"),), (1,)),), 0, 0)
    assert "?" in decoded(odd).string_table


def go():
    found = [shutil.which("go"), *map(str, Path("/usr/lib").glob("go-*/bin/go"))]
    return next((path for path in found if path), None)


@pytest.mark.skipif(go() is None, reason="Go is not installed: apt install golang-go")
def test_go_tool_pprof_prints_the_hottest_function(tmp_path):
    path = PROFILE.save(tmp_path / "profile.pb.gz")
    command = [str(go()), "tool", "pprof", "-top", "-tagfocus=machine=m0", str(path)]
    environ = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    shown = subprocess.run(command, capture_output=True, text=True, env=environ, check=True)
    assert re.search(r"^ +1s +100% +100% +1s +100% +CirclePI.sample$", shown.stdout, re.M)
    assert "Type: cpu" in shown.stdout
