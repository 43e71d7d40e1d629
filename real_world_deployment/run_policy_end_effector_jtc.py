"""Run a policy on the arm through a JointTrajectoryController: starts the nodes of ladle_bringup.

    python real_world_deployment/run_policy_end_effector_jtc.py --checkpoint results/latest --robot sim
"""

from app.deploy_script import deploy


def main() -> None:
    """Entry point."""
    deploy("jtc", "Run a policy on the arm through a JointTrajectoryController.")


if __name__ == "__main__":
    main()
