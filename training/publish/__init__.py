"""What goes to the Hub: the model card, the data card, and the push that checks itself.

    plan = prepare("demo", "ada/tweets")                      # what would leave, every byte checked
    check_rights("ada/tweets", HfApi())                       # before a training, too
    pushed = push(plan, HfApi(), progress=print)              # commits, verifies, stamps

Every failure is a PublishError (`training.publish.errors`) or a HubError (`inference.common.hub`). Needs
training's libraries for the card and the verification; `training.worker` does it all in a process that can
be killed.
"""
