"""Run a policy on the arm through a stream of jerk-limited set-points: starts the nodes of ladle_bringup.

    python real_world_deployment/run_policy_end_effector_ruckig.py --checkpoint results/latest --robot sim
"""

from app.deploy_script import deploy


def main() -> None:
    """Entry point."""
    deploy("ruckig", "Run a policy on the arm through a stream of jerk-limited set-points.")


if __name__ == "__main__":
    main()
