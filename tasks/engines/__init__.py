"""Where the work on partitions is done: on this machine, or on a Spark cluster."""
