"""Plain English words that tasks are made of."""


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


THINGS = _listed(
    """
    lamp chair kettle table mirror basket candle pillow blanket drawer ladder hammer bucket shovel broom wrench
    bottle saucer teapot plate spoon fork knife bowl glass mug tray oven fridge heater fan radio camera printer
    speaker keyboard monitor tablet charger cable battery torch whistle drum violin guitar trumpet flute piano
    ticket stamp envelope notebook pencil eraser ruler folder stapler scissors marker brush canvas easel
    jacket sweater scarf glove helmet boot sandal slipper belt wallet purse backpack suitcase umbrella watch
    ring necklace bracelet hat cap coat dress shirt sock apron towel curtain carpet sofa bench stool desk shelf
    cupboard wardrobe mattress cradle pram bicycle scooter skateboard sledge kayak paddle tent rope anchor compass
    map globe telescope microscope puzzle doll kite marble balloon racket bat ball net puck dart
    """
)
QUALITIES = _listed(
    """
    red blue green yellow black white brown grey orange purple pink golden silver small large tall short heavy light
    round square flat long wide narrow soft hard smooth rough old new wooden plastic iron copper cotton woollen
    striped spotted folding
    """
)
NAMES = _listed(
    """
    Anna Ben Clara David Emma Felix Greta Henry Ida Jonas Karen Leo Maria Nico Olga Paul Quentin Rosa Simon Tina
    Ulrich Vera Walter Yara Zoe Adam Bella Carl Diana Erik Fiona George Hannah Ivan Julia Kevin Laura Martin Nora
    Oscar Petra Robert Sara Thomas Ursula Victor Wendy Xavier Yvonne Alice Bruno Cora Daniel Elena Frank Gina Hugo
    Irene Jack Kate
    """
)
CITIES = _listed(
    """
    Paris Rome Berlin Madrid Vienna Oslo Dublin Prague Athens Lisbon Warsaw Geneva Milan Munich Hamburg Bremen Lyon
    Turin Porto Seville Krakow Zurich Basel Bern Graz Ghent Bruges Leeds Oxford Boston Denver Dallas Austin Tokyo
    Kyoto Cairo Lima Quito Delhi Sydney
    """
)
