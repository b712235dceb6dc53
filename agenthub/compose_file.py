"""The compose file of an organization: NATS servers, a container for each role, and the rehearsal model if asked for.

Written from the organization, so that it names the roles that there are; a test compares the one in the project.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from agenthub.bus.dealing import PROCESSES
from agenthub.errors import ConfigError
from agenthub.organization import Organization
from agenthub.settings import Settings

NATS_IMAGE = "nats:2.15.1-alpine"
REHEARSAL_PORT = 8090
KNOWLEDGE = "knowledge"
"""What the organization decided, which the leader writes and the roles read."""
HEALTH_PORT = 9464
GRACE_S = 120
"""What a stopping role may take to finish its message: longer than almost every turn. A turn that takes longer
is not lost, it goes on from its last step."""
_LEAST_TIME_TO_STOP_S = 15

_SMALL = " --small"
_HEAD = """\
# {org} in containers, on {servers}. Written by `agenthub compose{flag}`: change roles/ or
# agenthub.toml and write it again.
#
#   docker build -t agenthub .                                  once
#   ANTHROPIC_API_KEY=… docker compose up -d --wait             with Claude
#   docker compose --env-file deploy/rehearsal.env up -d --wait without a key: the model is a stand-in
#   docker compose run --rm cli send {head} "Ship dark mode" --wait
#   docker compose up -d --no-deps --wait {head}                another image for one role, while the others work
#
# docs/operations.md says the rest.
name: {org}

x-agenthub: &agenthub
  image: ${{AGENTHUB_IMAGE:-agenthub:latest}}
  init: true
  read_only: true
  tmpfs: [/tmp]
  cap_drop: [ALL]
  security_opt: ["no-new-privileges:true"]
  restart: unless-stopped
  stop_grace_period: {stop_s}s
  mem_limit: 512m
  pids_limit: 256
  logging: &logging {{driver: json-file, options: {{max-size: 10m, max-file: "5"}}}}

x-environment: &environment
  AGENTHUB_NATS_URL: {nats_url}
  AGENTHUB_NATS_REPLICAS: "{replicas}"
  AGENTHUB_KEY_WITHIN_S: "60"
  AGENTHUB_GRACE_S: "{grace_s}"
  AGENTHUB_HEALTH_PORT: "{health_port}"
  AGENTHUB_HEALTH_HOST: ${{AGENTHUB_HEALTH_HOST:-127.0.0.1}}
  AGENTHUB_HEALTH_TOKEN: ${{AGENTHUB_HEALTH_TOKEN:-}}
  AGENTHUB_MODEL_URL: ${{AGENTHUB_MODEL_URL:-}}
  AGENTHUB_REHEARSE: ${{AGENTHUB_REHEARSE:-}}
  AGENTHUB_REHEARSAL_SPEED: ${{AGENTHUB_REHEARSAL_SPEED:-}}
  ANTHROPIC_API_KEY: ${{ANTHROPIC_API_KEY:-}}

x-role: &role
  <<: *agenthub
  environment: *environment
  depends_on:
    provision: {{condition: service_completed_successfully}}

x-nats: &nats
  image: {nats_image}
  read_only: true
  cap_drop: [ALL]
  security_opt: ["no-new-privileges:true"]
  restart: unless-stopped
  stop_grace_period: 30s
  mem_limit: 512m
  pids_limit: 256
  logging: *logging
  tmpfs: [/tmp]
  entrypoint:  # begins when it knows who may do what, and reads that again whenever it changes
    - sh
    - -c
    - |
      who=/auth/authorization.conf
      printf %s "$$NATS_CONFIG" > /tmp/nats.conf
      until cp $$who /tmp/read 2> /dev/null; do sleep 0.2; done
      while sleep 2; do cmp -s $$who /tmp/read || {{ cp $$who /tmp/read; kill -HUP 1; }}; done &
      exec nats-server --config /tmp/nats.conf
  healthcheck:
    test: [CMD, wget, -q, -O, /dev/null, "http://127.0.0.1:8222/healthz?js-server-only=true"]
    interval: 5s
    timeout: 3s
    start_period: 20s

services:
"""

_KEYS = """\
  keys:  # gives each container its own key, and the servers the list of who may do what, and ends; all wait for it
    <<: *agenthub
    command: [keys, deal, /deal, --auth, /auth/authorization.conf, --owner, "10001:10001"]
    user: "0:0"  # to hand over volumes; without a network, and with no other right
    cap_add: [CHOWN, DAC_OVERRIDE, FOWNER]
    network_mode: none
    environment: *environment
    restart: "no"
    healthcheck: {disable: true}
    volumes:
"""

_LEADER = """\
  leader:  # looks after the roles, reminds, fires schedules: without a model, and the only one with that key
    <<: *role
    command: [lead]
    depends_on:
      keys: {condition: service_completed_successfully}
      provision: {condition: service_completed_successfully}
    volumes:
"""

_PROVISION = """\
  provision:  # streams, consumers and buckets; ends, and the roles begin
    <<: *agenthub
    command: [provision]
    environment: *environment
    restart: on-failure
    healthcheck: {disable: true}
    volumes:
"""

_CLI = """\
  cli:  # `docker compose run --rm cli ps`
    <<: *agenthub
    profiles: [cli]
    environment: *environment
    restart: "no"
    healthcheck: {disable: true}
    volumes:
"""

_REHEARSAL = """\
  rehearsal:  # stands in for the model: no key, no cost
    <<: *agenthub
    profiles: [rehearsal]
    command: [rehearsal, --host, 0.0.0.0, --port, "{port}"]
    environment: *environment
    volumes:
"""

_NATS_CONFIG = """\
server_name: {name}
listen: "0.0.0.0:4222"
http: "127.0.0.1:8222"
max_payload: 1MB
# With the new acknowledgement subjects nats-py 2.16 stops reading.
feature_flags {{ js_ack_fc_v2: false }}
# What was acknowledged is on disk: the default loses up to two minutes when the power fails.
jetstream {{ store_dir: /data, sync_interval: always, max_file: 20GB, max_mem: 64MB }}
# Who may do what. The path is seen from the file's own folder.
include "../auth/authorization.conf"
"""

_CLUSTER = """\
cluster {{ name: {org}, listen: "0.0.0.0:6222", no_advertise: true, routes: [ {routes} ] }}
"""


def compose_file(settings: Settings, organization: Organization, *, servers: int = 3) -> str:
    """The compose file of an organization.

    Args:
        servers: How many NATS servers; of three, one may be lost.

    Raises:
        ConfigError: If a role has the name of another service.
    """
    names = ["nats"] if servers == 1 else [f"nats-{number}" for number in range(1, servers + 1)]
    taken = {*names, *PROCESSES, "keys", "auth", "knowledge", "rehearsal"} & organization.roles.keys()
    if taken:
        raise ConfigError(f"A service of the compose file has the name of the role `{min(taken)}`. Rename the role.")
    head = next(iter(organization.reports(organization.operator)), next(iter(organization.roles)))
    mounts, knowledge = _mounts(settings, organization), _knowledge(settings, organization)
    volumes = [KNOWLEDGE] if knowledge.startswith(f"{KNOWLEDGE}:") else []
    text = _HEAD.format(
        org=organization.org.lower(), servers="one NATS server" if servers == 1 else f"{servers} NATS servers",
        flag=_SMALL if servers == 1 else "", head=head, stop_s=GRACE_S + _LEAST_TIME_TO_STOP_S, grace_s=GRACE_S,
        replicas=servers, nats_url=",".join(f"nats://{name}:4222" for name in names), health_port=HEALTH_PORT,
        nats_image=NATS_IMAGE,
    )  # fmt: skip
    routes = ", ".join(f"nats://{name}:6222" for name in names)
    cluster = _CLUSTER.format(org=organization.org, routes=routes) if servers > 1 else ""
    for number, name in enumerate(names):
        text += _server(name, 4222 + number, cluster)
    healthy = "".join(f"      {name}: {{condition: service_healthy}}\n" for name in names)
    dealt = [f"{name}:/deal/{name}" for name in (*volumes, *PROCESSES, *organization.roles)]
    text += f"\n{_KEYS}{_listed([*mounts, 'keys:/data', 'auth:/auth', *dealt])}"
    text += f"\n{_PROVISION}{_listed([*mounts, 'provision:/data'])}    depends_on:\n{healthy}"
    text += f"\n{_REHEARSAL.format(port=REHEARSAL_PORT)}{_listed(mounts)}"
    text += f"\n{_CLI}{_listed([*mounts, 'cli:/data'])}"
    text += f"\n{_LEADER}{_listed([*mounts, 'leader:/data', knowledge])}"
    for role in organization.roles.values():
        text += f"\n  {role.name}:\n    <<: *role\n    command: [role, {role.name}]\n"
        text += f"    volumes:\n{_listed([*mounts, f'{role.name}:/data', f'{knowledge}:ro'])}"
        if role.settings.replicas > 1:
            text += f"    deploy: {{replicas: {role.settings.replicas}}}\n"
    volumes = [*names, "keys", "auth", *volumes, *PROCESSES, *organization.roles]
    text += "\nvolumes:\n" + "".join(f"  {name}:\n" for name in volumes)
    return text


def says_small(text: str) -> bool:
    """True if a compose file says at its beginning that it was written with one NATS server."""
    return f"Written by `agenthub compose{_SMALL}`" in text.partition("\n")[0]


def _server(name: str, port: int, cluster: str) -> str:
    """A NATS server, seen on this machine only."""
    config = textwrap.indent(_NATS_CONFIG.format(name=name) + cluster, " " * 8)
    return (
        f"  {name}:\n    <<: *nats\n    environment:\n      NATS_CONFIG: |\n{config}"
        f'    ports: ["127.0.0.1:${{AGENTHUB_{name.upper().replace("-", "_")}_PORT:-{port}}}:4222"]\n'
        f"    volumes: [{name}:/data, auth:/auth:ro]\n"
    )


def _mounts(settings: Settings, organization: Organization) -> list[str]:
    """The organization's files, read-only where the image expects them."""
    folder = settings.folder
    wanted = {settings.config} if settings.config and settings.config.parent == folder else set()
    if settings.config and settings.config.parent != folder:
        wanted.add(settings.config.parent)
    wanted |= {role.path.parent for role in organization.roles.values()}
    inside = sorted(path.relative_to(folder).as_posix() for path in wanted if path and path.is_relative_to(folder))
    return [f"./{path}:/org/{path}:ro" for path in inside if not _is_below(path, inside)]


def _knowledge(settings: Settings, organization: Organization) -> str:
    """What the leader writes and roles read: a volume, or the folder that the organization names."""
    if organization.knowledge == settings.state / "knowledge":
        return f"{KNOWLEDGE}:/data/{KNOWLEDGE}"
    if not organization.knowledge.is_relative_to(settings.folder):
        raise ConfigError(f"`knowledge.folder` is outside of {settings.folder}: a container sees only what is below.")
    path = organization.knowledge.relative_to(settings.folder).as_posix()
    return f"./{path}:/org/{path}"


def _is_below(path: str, others: list[str]) -> bool:
    return any(Path(path) != Path(other) and Path(path).is_relative_to(other) for other in others)


def _listed(lines: list[str]) -> str:
    return "".join(f"      - {line}\n" for line in lines)
