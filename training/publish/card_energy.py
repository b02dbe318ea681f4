"""How much energy a run took: an estimate by a stated method, not a measurement.

    estimate(seconds=200, cores=2, memory_gb=16).watt_hours

Power = cores × 3.5 W + memory × 0.375 W/GB, times 1.135 for the building; energy = power × seconds. The watts
of a core are those of a cloud's virtual core under full load, and the building's factor is a cloud's, both as
Cloud Carbon Footprint averages them (SPECpower); memory's are CodeCarbon's (3 W for 8 GB), and so is the
world's average of 475 g CO₂e/kWh. codecarbon itself would add a dependency and, without access to the power
meter (RAPL), which containers and Spaces do not have, fall back to a constant too, for the whole machine.
A graphics card counts with its board's power, as its maker states it, over the whole run: an assumption, on
the high side. For a card that is not in the table there is no estimate. Right within a factor of three or so.
"""

import re
from dataclasses import dataclass

WATTS_A_CORE = 3.5
WATTS_A_GB = 0.375
OVERHEAD = 1.135
GRAMS_CO2_A_KWH = 475.0
BOARD_WATTS = {
    "T4": 70.0,
    "L4": 72.0,
    "A10": 150.0,
    "A10G": 300.0,
    "L40": 300.0,
    "L40S": 350.0,
    "A100 PCIe": 300.0,
    "A100": 400.0,
    "H100 PCIe": 350.0,
    "H100": 700.0,
    "H200": 700.0,
    "B200": 1000.0,
    "P100": 250.0,
    "V100": 300.0,
    "RTX 3090": 350.0,
    "RTX 4090": 450.0,
    "RTX A6000": 300.0,
}
"""A graphics card's board power in watts, as its maker states it; the first that fits counts."""


@dataclass(frozen=True)
class Energy:
    """An estimate."""

    watts: float
    watt_hours: float
    grams_co2: float
    card: str = ""
    """The graphics card, by its name in BOARD_WATTS; "" for none."""

    @property
    def sentence(self) -> str:
        """The estimate and its method, for people."""
        watts = BOARD_WATTS.get(self.card, 0.0)
        card = (
            f", {watts:g} W for one {self.card} (its board's power, assumed for all the time)"
            if watts
            else ""
        )
        return (
            f"About {_short(self.watt_hours)} Wh, or {_short(self.grams_co2)} g CO₂e (an estimate, right "
            f"within a factor of three or so, no measurement): {WATTS_A_CORE:g} W a core under load (Cloud "
            f"Carbon Footprint's average for a cloud's virtual core), {WATTS_A_GB:g} W a GB of memory "
            f"(CodeCarbon){card}, times {OVERHEAD:g} for the building, so {self.watts:.0f} W over the run's "
            f"time, evaluation included; {GRAMS_CO2_A_KWH:.0f} g CO₂e a kWh, the world's average."
        )


def known_card(name: str) -> str:
    """Return the entry of BOARD_WATTS for what PyTorch calls a graphics card, "" where there is none."""
    for known in BOARD_WATTS:
        if re.search(rf"\b{known.replace(' ', '.*')}\b", name, re.IGNORECASE):
            return known
    return ""


def estimate(*, seconds: float, cores: int, memory_gb: float, card: str = "") -> Energy:
    """Return the energy that a run of so many seconds took. `card`: an entry of BOARD_WATTS, "" for none."""
    watts = (cores * WATTS_A_CORE + memory_gb * WATTS_A_GB + BOARD_WATTS.get(card, 0.0)) * OVERHEAD
    watt_hours = watts * seconds / 3600
    return Energy(watts, watt_hours, watt_hours / 1000 * GRAMS_CO2_A_KWH, card)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
