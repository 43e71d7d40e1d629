from app.multirun_metrics import main

main()
