"""What people and programs are told. They read, and write nothing."""
