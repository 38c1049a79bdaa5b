"""How customers word things. Several phrasings for each act, filled in by the scenario generator."""

GREETINGS = ("Hi.", "Hello.", "Good morning.", "Good afternoon.", "Hey there.", "Hello, I need some help.", "")
THANKS = ("Thanks.", "Thank you.", "Yes.", "Great, thanks.", "Good.", "Yes, one more thing.", "Perfect.")
UP_FRONT = ("This is {name}, born {date}.", "{name} here, date of birth {date}.", "My name is {name}, born on {date}.")

TELL_BOTH = (
    "{name}, {date}.",
    "I'm {name}, born {date}.",
    "My name is {name} and my date of birth is {date}.",
    "{name}. Born on {date}.",
    "Sure: {name}, {date}.",
    "It's {name}, and I was born on {date}.",
)
TELL_NAME = ("{name}.", "My name is {name}.", "I'm {name}.", "Sure, {name}.")
TELL_DATE = ("{date}.", "It's {date}.", "I was born on {date}.", "Born {date}.")
TELL_DATE_AGAIN = ("Sorry, it is {date}.", "Oh, I meant {date}.", "My mistake: {date}.", "Let me see. {date}.")
TELL_CITY = ("I live in {city}.", "{city}.", "In {city}.", "That would be {city}.")
NO_OTHER_DATE = ("That is the only date I have.", "I have no other date.")
YES = ("Yes, please.", "Yes.", "Go ahead.", "That's right, do it.", "Correct, thank you.", "Sure, yes.")
NO = ("No, leave it.", "No, I changed my mind.", "Better not.", "Stop, not now.", "No, cancel that.", "No, thanks.")
NUDGE = ("Sorry, what?", "Hm, that does not help me.", "I don't follow.", "Pardon?")

BALANCE = (
    "What is the balance of my {account} account?",
    "How much money is in my {account} account?",
    "Could you tell me my {account} balance?",
    "I need to know how much I have in {account}.",
    "Please check the balance on my {account} account.",
    "How much is left in {account}?",
    "I'd like to know my current {account} balance.",
    "What's in my {account} account right now?",
)
BALANCE_LATER = (
    "What is the balance of my {account} account now?",
    "How much is in {account} after that?",
    "And my new {account} balance?",
    "Please tell me how much I now have in {account}.",
)
FREEZE = (
    "I lost my card. Please freeze it.",
    "My card was stolen. Can you block it?",
    "Please freeze my card right away.",
    "I can't find my bank card, please lock it.",
    "Could you freeze my card?",
    "My wallet is gone. Block my card, please.",
    "I think I left my card on the train. Freeze it, please.",
    "Someone took my card, it must be blocked.",
)
DISPUTE_BOTH = (
    "I don't recognise the {amount} payment to {merchant} from {account}. Please dispute it.",
    "There is a charge of {amount} from {merchant} on {account} that I never made. I want to dispute it.",
    "Please dispute {merchant}, {amount}, on my {account} account.",
    "{merchant} took {amount} from my {account} account. That was not me, dispute it please.",
)
DISPUTE_MERCHANT = (
    "Please dispute the payment to {merchant} on my {account} account.",
    "I never bought anything at {merchant}. Can you dispute that payment from {account}?",
    "The {merchant} charge on {account} is not mine. Dispute it, please.",
    "I want to dispute a {merchant} payment in my {account} account.",
)
DISPUTE_MERCHANT_HOW_MUCH = (
    "Please dispute the {merchant} payment on {account} and tell me how much it was.",
    "How much did {merchant} charge on {account}? It was not me, please dispute it.",
    "Dispute the {merchant} charge on my {account} account, please. What was the amount?",
)
DISPUTE_AMOUNT = (
    "Someone charged {amount} to my {account} account. That was not me, please dispute it.",
    "I did not make the payment of {amount} on {account}. Please dispute it.",
    "Please dispute the {amount} charge on my {account} account.",
    "There is a payment of {amount} in {account} that I want to dispute.",
)
TRANSFER = (
    "Please transfer {amount} from {source} to {target}.",
    "Can you move {amount} from my {source} account to {target}?",
    "I'd like to move {amount} from {source} into {target}.",
    "Send {amount} from my {source} to my {target} account, please.",
    "I want {amount} transferred from {source} to {target}.",
    "Could you transfer {amount} to my {target} account from {source}?",
)
INVESTMENT = (
    "Should I buy {asset}?",
    "Is now a good time to invest in {asset}?",
    "Would you recommend {asset} as an investment?",
    "What do you think, should I invest in {asset}?",
    "I have some money to invest. Is {asset} a good choice?",
    "Do you expect {asset} to go up? I may invest.",
)
ASSETS = (
    "Tesla shares", "bitcoin", "gold", "government bonds", "tech stocks", "an index fund", "oil stocks", "Ethereum",
    "Apple shares", "silver", "an ETF", "bank stocks",
)  # fmt: skip
HAND_OVER = (
    "I'd like to {wish}.",
    "I want to {wish}, please.",
    "Can you help me to {wish}?",
    "I need to {wish}.",
    "How can I {wish}?",
)
WISHES = {
    "mortgage": "apply for a mortgage",
    "loan": "take out a loan",
    "complaint": "make a complaint about my branch",
    "limit": "raise my credit limit",
    "address": "change my address",
    "PIN": "get a new PIN",
    "cheque book": "order a cheque book",
    "insurance": "cancel my travel insurance",
    "pension": "set up a pension plan",
    "tax certificate": "get a tax certificate",
    "joint account": "open a joint account",
    "inheritance": "settle an inheritance",
}
"""What no tool can do: the word that a colleague needs to hear, and the customer's wish."""
