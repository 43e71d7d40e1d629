from training.train_classifier import main

main()
