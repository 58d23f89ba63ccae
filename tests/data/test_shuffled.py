"""`ckptkit.data.shuffled` over data that is not in memory."""

from __future__ import annotations


def test_a_memory_mapped_file_is_read_by_rows(tf_process, tmp_path):
    tf_process(
        """
        import sys
        from pathlib import Path
        import numpy as np
        import ckptkit

        rows = np.arange(40, dtype="float32").reshape(20, 2)
        np.save("rows.npy", rows)
        read = []


        class Watched(np.memmap):
            def __getitem__(self, index):
                if isinstance(index, np.ndarray):
                    read.append(len(index))
                return super().__getitem__(index)

            def __array__(self, *args, **options):
                raise AssertionError("all of the file is read")


        mapped = np.load("rows.npy", mmap_mode="r").view(Watched)
        plain = list(ckptkit.data.shuffled(rows, 6, seed=1).take(8).as_numpy_iterator())
        same = list(
            ckptkit.data.shuffled(np.load("rows.npy", mmap_mode="r"), 6, seed=1)
            .take(8)
            .as_numpy_iterator()
        )
        assert all((a == b).all() for a, b in zip(plain, same, strict=True))

        labels = np.arange(20)
        for source in ((mapped, labels), {"x": mapped, "y": labels}):
            read.clear()
            data = ckptkit.data.shuffled(source, 6, seed=1)
            assert data.batches_per_epoch == 4
            batches = [
                batch if isinstance(batch, tuple) else (batch["x"], batch["y"])
                for batch in data.take(8).as_numpy_iterator()
            ]
            assert all((x == rows[y]).all() for x, y in batches)
            assert all((x == b).all() for (x, _), b in zip(batches, plain, strict=True))
            assert max(read) <= 6, read
            state = iter(data)
        try:
            ckptkit.data.shuffled((mapped, labels[:5]), 6)
        except ckptkit.ConfigError as error:
            assert "[5, 20]" in str(error)
        else:
            raise AssertionError("no error")
    """,
        cwd=tmp_path,
    ).check()
