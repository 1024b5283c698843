"""The messages are those of openpi-client, byte for byte where it matters."""

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from resfit_ros.core.errors import DataError
from resfit_ros.policies.wire import pack, plain, unpack

DTYPES = ["<f4", "<f8", "|u1", "<i4", "<i8", "|b1", ">f4", "<f2", "<U3"]


def example(dtype: str) -> np.ndarray:
    return np.array([[1, 0, 1], [0, 1, 1]]).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_when_packed_and_unpacked_expect_the_same_array(dtype):
    found = unpack(pack({"x": example(dtype)}))["x"]
    assert (found.dtype, found.shape) == (np.dtype(dtype), (2, 3))
    np.testing.assert_array_equal(found, example(dtype))


@given(
    arrays.arrays(
        st.sampled_from([np.float32, np.uint8, np.int64]), arrays.array_shapes(min_dims=0, max_dims=4, min_side=0)
    )
)
def test_when_any_array_crosses_expect_it_unchanged(array):
    found = unpack(pack({"x": array}))["x"]
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_when_an_array_is_a_view_expect_its_values():
    array = np.arange(24).reshape(4, 6)[::2, ::3]
    np.testing.assert_array_equal(unpack(pack({"x": array}))["x"], array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_when_openpi_client_reads_ours_expect_the_same_and_the_other_way_round(dtype):
    theirs = pytest.importorskip("openpi_client.msgpack_numpy", reason="openpi-client is not installed")
    message = {"x": example(dtype), "nested": {"y": np.float32(2.5)}, "prompt": "lift"}
    assert pack(message) == theirs.packb(message)
    np.testing.assert_array_equal(theirs.unpackb(pack(message))["x"], example(dtype))
    np.testing.assert_array_equal(unpack(theirs.packb(message))["x"], example(dtype))


@pytest.mark.parametrize("value", [np.array([object()]), np.zeros(2, complex), object(), {1j}])
def test_when_a_value_cannot_cross_expect_refusal(value):
    with pytest.raises(DataError, match="cannot be"):
        pack({"x": value})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        pack({"x": np.zeros(8)})[:-3],
        msgpack.packb([1, 2]),
        msgpack.packb({b"__ndarray__": True, b"data": b"123", b"dtype": "<f4", b"shape": [1]}),
        msgpack.packb({b"__ndarray__": True, b"data": b"1234", b"dtype": "O", b"shape": [1]}),
        msgpack.packb({b"__ndarray__": True}),
        msgpack.packb({b"__ndarray__": True, b"data": b"1234", b"dtype": "f4,(", b"shape": [1]}),
        msgpack.packb({b"__npgeneric__": True, b"data": 1e300, b"dtype": "i4"}),
    ],
)
def test_when_data_is_no_message_expect_refusal(data):
    with pytest.raises(DataError, match="not a message of the openpi protocol"):
        unpack(data)


def test_when_made_plain_expect_json():
    value = {"a": np.arange(2), b"b": (np.float32(0.5), b"text"), "c": {"d": None}}
    assert plain(value) == {"a": [0, 1], "b'b'": [0.5, "text"], "c": {"d": None}}
