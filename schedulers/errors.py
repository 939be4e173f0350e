"""What can be wrong with a noise schedule, or with what is asked of one."""


class ScheduleError(ValueError):
    """A scheduler option or a sampler setting cannot be used; the message says what to change."""
