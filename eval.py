# The environments' processes import this file again, so nothing is loaded outside the guard.
if __name__ == "__main__":
    from app.eval_script import main

    main()
