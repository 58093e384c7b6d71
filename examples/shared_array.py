# SPDX-License-Identifier: Apache-2.0
"""A picture that two processes work on, without a copy (needs numpy)."""

from multiprocessing import get_context

from ipcsys import SharedArray


def brighten(picture, rows):
    pixels = picture.numpy()
    for row in rows:
        pixels[row] += 10 * (row + 1)


def main():
    with SharedArray(shape=(4, 6), dtype="uint8") as picture:
        halves = [range(0, 2), range(2, 4)]
        workers = [
            get_context("spawn").Process(target=brighten, args=(picture, rows)) for rows in halves
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print(picture.numpy()[:, 0].tolist(), picture.shape, picture.dtype)


if __name__ == "__main__":
    main()
