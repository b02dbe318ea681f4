"""How much energy a run took: an estimate by a stated method, not a measurement.

    estimate(seconds=200, cores=2, memory_gb=16).watt_hours

Power = cores × 3.5 W + memory × 0.375 W/GB, times 1.135 for the building; energy = power × seconds. The watts
of a core are those of a cloud's virtual core under full load, and the building's factor is a cloud's, both as
Cloud Carbon Footprint averages them (SPECpower); memory's are CodeCarbon's (3 W for 8 GB), and so is the
world's average of 475 g CO₂e/kWh. codecarbon itself would add a dependency and, without access to the power
meter (RAPL), which containers and Spaces do not have, fall back to a constant too, for the whole machine.
Right within a factor of three or so. Knows nothing about graphics cards: with one there is no estimate.
"""

from dataclasses import dataclass

WATTS_A_CORE = 3.5
WATTS_A_GB = 0.375
OVERHEAD = 1.135
GRAMS_CO2_A_KWH = 475.0


@dataclass(frozen=True)
class Energy:
    """An estimate."""

    watts: float
    watt_hours: float
    grams_co2: float

    @property
    def sentence(self) -> str:
        """The estimate and its method, for people."""
        return (
            f"About {_short(self.watt_hours)} Wh, or {_short(self.grams_co2)} g CO₂e (an estimate, right "
            f"within a factor of three or so, no measurement): {WATTS_A_CORE:g} W a core under load (Cloud "
            f"Carbon Footprint's average for a cloud's virtual core), {WATTS_A_GB:g} W a GB of memory "
            f"(CodeCarbon), times {OVERHEAD:g} for the building, so {self.watts:.0f} W over the run's time, "
            f"evaluation included; {GRAMS_CO2_A_KWH:.0f} g CO₂e a kWh, the world's average."
        )


def estimate(*, seconds: float, cores: int, memory_gb: float) -> Energy:
    """Return the energy that a run of so many seconds took on a machine without a graphics card."""
    watts = (cores * WATTS_A_CORE + memory_gb * WATTS_A_GB) * OVERHEAD
    watt_hours = watts * seconds / 3600
    return Energy(watts, watt_hours, watt_hours / 1000 * GRAMS_CO2_A_KWH)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
