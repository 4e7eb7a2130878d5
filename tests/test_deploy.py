"""The launch files are whole, and start what there is."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parent.parent / "deploy"
SBATCH, MANIFEST = ROOT / "pretrain.sbatch", ROOT / "pretrain.yaml"


def test_sbatch_file_is_a_script_with_directives_before_its_first_command() -> None:
    subprocess.run(["bash", "-n", SBATCH], check=True)
    lines = SBATCH.read_text().splitlines()
    directives = [number for number, line in enumerate(lines) if line.startswith("#SBATCH ")]
    first_command = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert len(directives) >= 6
    assert max(directives) < first_command


def test_sbatch_file_is_accepted_by_slurm() -> None:
    if shutil.which("sbatch") is None or subprocess.run(["scontrol", "ping"], capture_output=True).returncode:
        pytest.skip("no Slurm controller answers")
    done = subprocess.run(
        ["sbatch", "--test-only", "--gpus-per-node=0", SBATCH, "tiny", "shards", "out"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_sbatch_file_starts_torchrun_on_each_node(tmp_path: Path) -> None:
    """With stand-ins for Slurm's commands and torchrun that say what they were given."""
    (tmp_path / "scontrol").write_text(
        "#!/bin/sh\n[ $2 = hostnames ] && printf 'node7\\nnode8\\n' && exit\n"
        'echo "NodeName=$3 Arch=x86_64\n   NodeAddr=10.0.0.7 NodeHostName=$3 Version=22.05"\n'
    )
    (tmp_path / "srun").write_text('#!/bin/sh\nshift\nexec "$@"\n')
    (tmp_path / "torchrun").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    for path in tmp_path.iterdir():
        path.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_ID": "5", "SLURM_GPUS_ON_NODE": "4", "SLURM_NODEID": "0",
    }  # fmt: skip
    command = ["bash", str(SBATCH), "my recipe.toml", "/data/shards", "/runs/a", "--seed=3"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == [
        "--nnodes=2", "--nproc-per-node=4", "--max-restarts=3", "--rdzv-id=5", "--rdzv-backend=c10d",
        "--rdzv-endpoint=10.0.0.7:29400", "--rdzv-conf=is_host=1", "-m", "electrify", "pretrain", "my recipe.toml",
        "--data.path=/data/shards", "--output=/runs/a", "--resume", "--seed=3",
    ]  # fmt: skip


def test_kubernetes_manifest_says_what_a_job_needs() -> None:
    service, job = list(yaml.safe_load_all(MANIFEST.read_text()))
    assert (service["kind"], job["kind"], job["apiVersion"]) == ("Service", "Job", "batch/v1")
    spec: dict[str, Any] = job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == 2
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    assert (
        f"{job['metadata']['name']}-0.{pod['subdomain']}:{service['spec']['ports'][0]['port']}" in container["args"][0]
    )
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    subprocess.run(["sh", "-n", "-c", container["args"][0]], check=True)


@pytest.mark.parametrize("path", [SBATCH, MANIFEST], ids=lambda path: path.suffix)
def test_launch_files_carry_the_setting_that_restarts_need_and_resume(path: Path) -> None:
    text = path.read_text()
    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE" in text
    assert "--resume" in text
    assert "--max-restarts" in text
