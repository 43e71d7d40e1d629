from app.multirun import main

main()
