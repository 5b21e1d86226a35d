import subprocess
import sys

import numpy as np
import torch

from evaluate.dumps.widening import widen

EVERY_HALF = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(256, 256)
KEPT_BY_NUMPY = """
import sys
import numpy as np
from evaluate.dumps.widening import widen
rows = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(256, 256)
out = np.empty(rows.shape, np.float32)
widen(rows, out)
np.testing.assert_array_equal(out, rows.astype(np.float32))
assert "torch" not in sys.modules
"""
WHILE_ANOTHER_THREAD_LOADS_TORCH = """
import sys
import threading
import numpy as np
from evaluate.dumps.widening import widen
rows = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(256, 256)
out = np.empty(rows.shape, np.float32)
loading = threading.Thread(target=__import__, args=("torch",))
loading.start()
while "torch" not in sys.modules:
    pass
widen(rows, out)
np.testing.assert_array_equal(out, rows.astype(np.float32))
loading.join()
"""


def test_every_half_keeps_its_value_where_torch_is_loaded():
    assert torch.__version__
    out = np.empty(EVERY_HALF.shape, np.float32)
    widen(EVERY_HALF, out)
    np.testing.assert_array_equal(out, EVERY_HALF.astype(np.float32))


def test_a_process_without_torch_does_not_load_it_for_this():
    subprocess.run([sys.executable, "-c", KEPT_BY_NUMPY], check=True, timeout=60)


def test_halves_are_widened_while_another_thread_loads_torch():
    subprocess.run([sys.executable, "-c", WHILE_ANOTHER_THREAD_LOADS_TORCH], check=True, timeout=60)


def test_float32_rows_are_taken_as_they_are():
    rows = np.random.default_rng(0).standard_normal((3, 5), dtype=np.float32)
    out = np.empty_like(rows)
    widen(rows, out)
    np.testing.assert_array_equal(out, rows)
