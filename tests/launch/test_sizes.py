from __future__ import annotations

import os

import pytest

from launch.sizes import bytes_of, half_of_the_memory, in_words


def test_a_size_is_read_as_people_write_it():
    sizes = {"8GB": 8 * 10**9, "500 MB": 5 * 10**8, "1.5GiB": 3 << 29, "2tb": 2 * 10**12, "4096": 4096, " 1kB ": 1000}

    assert {text: bytes_of(text, "--memory") for text in sizes} == sizes


def test_half_of_the_machine_is_half_of_its_pages():
    assert half_of_the_memory() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


@pytest.mark.parametrize("text", ["", "lots", "8 apples", "-1GB", "GB", "0MB", "1e3", "8GB!"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match=rf"--memory {text}: give a size such as 500MB, 8GB or 1.5GiB"):
        bytes_of(text, "--memory")


def test_people_read_three_digits():
    assert [in_words(size) for size in (512, 999.6, 20.48e9, 1.25e6, 3.2e12)] == ["512 B", "1 kB", "20.5 GB", "1.25 MB", "3.2 TB"]
