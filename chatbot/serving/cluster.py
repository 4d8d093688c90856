"""The same application on many machines, by Ray Serve: `serve run chatbot.serving.cluster:app run=pretrained`.

Ray starts replicas, each a process with a bot of its own, sends a request to the one of two that has less to do, and
asks each whether it is well. Within a replica requests meet as they do in `chatbot serve`, in `batches.py`: Ray's own
`serve.batch` waits for company, and gives the words of a batch to nobody before all have ended.
"""

from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve.config import AutoscalingConfig
from starlette.applications import Starlette

from ..chat.bot import Chatbot
from ..runs.directory import find_model, model_name
from ..system.process import apart
from .application import create_application
from .guard import key_in
from .limits import Limits


class Arguments(BaseModel):
    """What stands behind `chatbot.serving.cluster:app` on the command line, or under `args` in a configuration."""

    model_config = ConfigDict(extra="forbid")

    run: str = Field("pretrained", description="what `chatbot serve` opens; every machine has it at the same path")
    checkpoints: str = Field("checkpoints", description="the folder of runs")
    name: str = Field("", description="what clients call the model; empty is the run's name")
    replicas: int = Field(1, ge=1, description="the fewest copies of the bot")
    most_replicas: int = Field(4, ge=1, description="the most that Ray may start when more is asked")
    busy: float = Field(16.0, gt=0, description="requests at work in a replica at which another one is worth starting")
    threads: int = Field(1, ge=1, description="of a replica; Ray keeps as many cores for it")
    batch_size: int = Field(Limits.batch, ge=1, description="prompts that are answered side by side")
    queue: int = Field(Limits.waiting, ge=1, description="requests that wait in a replica; beyond it 503")
    timeout: float = Field(Limits.timeout, gt=0, description="seconds to a reply")
    api_key: str = Field("", description="the environment variable that holds the key; empty lets everybody in")


class Replica:
    """One copy of the bot, with what Ray asks of it besides requests."""

    app: Starlette  # of Ray, which builds it

    def check_health(self) -> None:
        """Called by Ray every ten seconds; a replica that fails is replaced.

        Raises:
            RuntimeError: the thread that answers has ended.
        """
        if not self.app.state.batches.is_alive:
            raise RuntimeError("the thread that answers has ended")


def app(arguments: Arguments) -> serve.Application:
    """The deployment; Ray calls this with what the command line or the configuration says.

    Raises:
        ChatbotError: there is no such run here, or no key where one is asked for.
    """
    limits = Limits(batch=arguments.batch_size, waiting=arguments.queue, timeout=arguments.timeout)
    path = find_model(arguments.run, Path(arguments.checkpoints)).resolve()
    name = arguments.name or model_name(path)
    key = key_in(arguments.api_key) if arguments.api_key else None

    def build() -> Starlette:  # called in each replica
        torch.set_num_threads(arguments.threads)
        bot = apart(lambda: Chatbot.load(path))  # another thread answers
        return create_application(bot, name, limits=limits, key=key)

    scaling = AutoscalingConfig(
        min_replicas=arguments.replicas,
        max_replicas=max(arguments.replicas, arguments.most_replicas),
        target_ongoing_requests=arguments.busy,
    )
    deployment = serve.deployment(
        serve.ingress(build)(Replica),
        name="chatbot",
        autoscaling_config=scaling,
        ray_actor_options={"num_cpus": arguments.threads},
        # a replica's own queue is the bound, and refuses in JSON; Ray's is wider
        max_ongoing_requests=2 * (limits.batch + limits.waiting),
        graceful_shutdown_timeout_s=limits.timeout + 1,
        health_check_period_s=10,
        health_check_timeout_s=30,
    )
    return deployment.bind()
