"""The compose file says what the organization is, and nothing that a container must not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from agenthub.compose_file import GRACE_S, compose_file
from agenthub.errors import ConfigError, HubError
from agenthub.organization import load_organization
from agenthub.replica_slots import free_replica
from agenthub.settings import Settings
from tests.organization import write_organization

PROJECT = Path(__file__).parent.parent


def compose(folder: Path, *, servers: int = 3) -> dict[str, Any]:
    settings = Settings.load(folder=folder)
    return dict(yaml.safe_load(compose_file(settings, load_organization(settings), servers=servers)))


@pytest.mark.parametrize(("name", "servers"), [("compose.yaml", 3), ("compose.small.yaml", 1)])
def test_the_files_of_the_project_are_those_of_its_organization(name: str, servers: int) -> None:
    settings = Settings.load(folder=PROJECT)
    wanted = compose_file(settings, load_organization(settings), servers=servers)
    assert (PROJECT / name).read_text() == wanted, f"agenthub compose{' --small' * (servers == 1)} > {name}"


def test_each_role_is_a_container_with_a_volume_of_its_own(tmp_path: Path) -> None:
    write_organization(tmp_path, "[roles.qa]\nreplicas = 3\n")
    found = compose(tmp_path)
    services = found["services"]
    for role in ("ceo", "cto", "backend", "qa"):
        assert services[role]["command"] == ["role", role]
        assert f"{role}:/data" in services[role]["volumes"] and role in found["volumes"]
    assert services["qa"]["deploy"] == {"replicas": 3}
    assert [name for name in services if name.startswith("nats")] == ["nats-1", "nats-2", "nats-3"]
    assert [name for name in compose(tmp_path, servers=1)["services"] if name.startswith("nats")] == ["nats"]


def test_every_container_is_walled_in_limited_and_given_time_to_stop(tmp_path: Path) -> None:
    write_organization(tmp_path)
    for name, service in compose(tmp_path)["services"].items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"] and service["pids_limit"] and service["logging"]["options"]["max-size"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        if name != "keys":  # hands the volumes over
            assert "user" not in service and "cap_add" not in service and "network_mode" not in service, name
            assert all(mount.endswith((":ro", ":/data")) or name == "leader" for mount in service["volumes"]), name
        if service.get("command", [""])[0] == "role":
            assert int(service["stop_grace_period"].rstrip("s")) > GRACE_S, name
            assert service["depends_on"]["provision"] == {"condition": "service_completed_successfully"}


def test_a_folder_of_ones_own_for_what_is_known_is_written_by_the_leader_alone(tmp_path: Path) -> None:
    write_organization(tmp_path, '[knowledge]\nfolder = "docs/knowledge"\n')
    found = compose(tmp_path)
    assert "./docs/knowledge:/org/docs/knowledge" in found["services"]["leader"]["volumes"]
    assert "./docs/knowledge:/org/docs/knowledge:ro" in found["services"]["qa"]["volumes"]
    assert "knowledge" not in found["volumes"]
    write_organization(tmp_path, '[knowledge]\nfolder = "/srv/knowledge"\n')
    with pytest.raises(ConfigError, match="outside"):
        compose(tmp_path)


def test_the_job_that_has_all_keys_has_no_network_and_nobody_else_mounts_them(tmp_path: Path) -> None:
    write_organization(tmp_path)
    services = compose(tmp_path)["services"]
    assert services["keys"]["network_mode"] == "none" and "keys:/data" in services["keys"]["volumes"]
    for name, service in services.items():
        of_keys = [mount for mount in service["volumes"] if mount.startswith(("keys:", "auth:")) or "/deal/" in mount]
        assert name == "keys" or of_keys in ([], ["auth:/auth:ro"]), name
        # Who depends on a container is made anew with it: a new role would restart everybody.
        assert name == "leader" or "keys" not in service.get("depends_on", {}), name


def test_a_role_cannot_be_called_as_another_service(tmp_path: Path) -> None:
    write_organization(tmp_path, roles={"ceo": {"skills": "x"}, "cli": {"reports_to": "ceo", "skills": "y"}})
    with pytest.raises(ConfigError, match="`cli`"):
        compose(tmp_path)


def test_copies_that_are_told_the_same_take_a_number_each(tmp_path: Path) -> None:
    with free_replica(tmp_path, "qa", 2) as first:
        with free_replica(tmp_path, "qa", 2) as second, pytest.raises(HubError, match="All 2 of `qa`"):  # noqa: SIM117
            with free_replica(tmp_path, "qa", 2):
                pass
        with free_replica(tmp_path, "qa", 2) as again:
            pass
    assert (first, second, again) == (0, 1, 1)
