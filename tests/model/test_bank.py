"""Order among passages that were found."""

from __future__ import annotations

import torch

from mbc_cli.model.bank import NEAR_EQUAL, newest_first

ROWS = torch.tensor([[4, 9, 2, 7], [9, 7, 4, 2]])
YEARS = torch.zeros(10, dtype=torch.int64).index_put(
    (torch.tensor([4, 9, 2, 7]),), torch.tensor([2020, 2022, 2026, 2022])
)


def test_near_equal_passages_are_sorted_by_time_and_others_stay_behind_in_their_order() -> None:
    scores = torch.tensor([[5.0, 4.0, 5.0 - NEAR_EQUAL - 0.1, 1.0], [5.0, 4.9, 4.8, 4.7]])
    order = newest_first(scores, ROWS, lambda rows: YEARS[rows])
    assert ROWS.gather(1, order).tolist() == [[9, 4, 2, 7], [2, 9, 7, 4]]  # of the same year the better first


def test_without_passages_there_is_nothing_to_sort() -> None:
    order = newest_first(torch.empty(3, 0), torch.empty(3, 0, dtype=torch.int64), lambda rows: rows)
    assert order.shape == (3, 0)
