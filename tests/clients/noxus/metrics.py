"""Reads metrics with the published SDK: BASE_URL START END METRIC …, the key in NOXUS_KEY.

Prints a JSON object: each metric's type and value, or the error that the SDK raised.
"""

import json
import os
import sys
from datetime import datetime

from noxus_sdk.client import Client
from noxus_sdk.errors import NoxusApiError

base_url, start, end, *metrics = sys.argv[1:]
client = Client(os.environ["NOXUS_KEY"], base_url=base_url, load_nodes=False, load_me=False)
answers = {}
for metric in metrics:
    try:
        result = client.analytics.get(
            metric, datetime.fromisoformat(start), datetime.fromisoformat(end)
        )
        answers[metric] = {"type": result.type, "value": result.value}
    except NoxusApiError as error:
        answers[metric] = {"status": error.status_code, "body": error.body}
print(json.dumps(answers))  # noqa: T201  # this is its output
