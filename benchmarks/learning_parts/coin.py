"""TextWorldExpress's coin game, small enough that SmolLM2-135M finds the coin now and then: one won game before it."""

from journeyman.environments.adapters.textworld_express import TextWorldExpressSettings, TextWorldExpressSuite

suite = TextWorldExpressSuite(
    TextWorldExpressSettings(
        game="coin",
        parameters="numLocations=2,numDistractorItems=0,includeDoors=0,limitInventorySize=0",
        max_steps=4,
        examples=1,
    )
)
