"""Names inside a run directory, shared by the nodes that write it and the verbs that read it."""

DEMOS, UNUSED_DEMOS, FINETUNE_BAGS = "bags/demos", "bags/demos_unused", "bags/finetune"
POLICY, CHECKPOINTS = "base_policy", "checkpoints"
EVALUATION = "evaluation.json"
LEARNING_LOG, TENSORBOARD = "learning.jsonl", "tensorboard"
