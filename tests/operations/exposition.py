"""What ``/metrics`` says, read with Prometheus's own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families


class Exposition:
    """The samples by name and labels. ``names``: of all of them."""

    def __init__(self, text: bytes) -> None:
        self.families = {each.name: each for each in text_string_to_metric_families(text.decode())}
        self._samples = [sample for each in self.families.values() for sample in each.samples]
        self.names = {sample.name for sample in self._samples}

    def value(self, name: str, **labels: str) -> float:
        """The sum of those that have all of ``labels``; 0 where there is none."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == f"bitsserver_{name}" and labels.items() <= sample.labels.items()
        )

    def label_values(self, label: str) -> set[str]:
        """Every value of the label."""
        return {sample.labels[label] for sample in self._samples if label in sample.labels}
