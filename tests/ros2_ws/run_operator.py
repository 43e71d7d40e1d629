"""Helper process: does what each line of its input says, and writes answers and states as lines of JSON."""

import json
import select
import sys

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

from app.control import Operator
from ladle.errors import DeploymentError
from ladle_nodes.arm_conditions import ERRORS, MODE, SIMULATED_TOPIC, SUCCESS_RATE

TRANSITIONS = {"configure": Transition.TRANSITION_CONFIGURE, "cleanup": Transition.TRANSITION_CLEANUP,
               "activate": Transition.TRANSITION_ACTIVATE, "deactivate": Transition.TRANSITION_DEACTIVATE}


def write(**values: str) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


operator = Operator()
arm = operator._node.create_publisher(DiagnosticStatus, SIMULATED_TOPIC, 10)
lifecycle = operator._node.create_client(ChangeState, "/ladle_policy/change_state")
told = ("", "")
while True:
    operator.spin(0.02)
    if (operator.state, operator.reason) != told:
        told = operator.state, operator.reason
        write(state=operator.state, reason=operator.reason)
    if not select.select([sys.stdin], [], [], 0.0)[0]:
        continue
    word = sys.stdin.readline().strip()
    if not word:
        break
    if word == "guide":
        values = {MODE: "guiding", ERRORS: "", SUCCESS_RATE: "1.0"}
        arm.publish(DiagnosticStatus(values=[KeyValue(key=key, value=value) for key, value in values.items()]))
        continue
    if word in TRANSITIONS:
        future = lifecycle.call_async(ChangeState.Request(transition=Transition(id=TRANSITIONS[word])))
        while not future.done():
            operator.spin(0.02)
        write(**{"answer" if future.result().success else "refusal": word})
        continue
    try:
        write(answer=operator.ask(word))
    except DeploymentError as error:
        write(refusal=str(error))
operator.close()
