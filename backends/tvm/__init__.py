"""TVM code generation: templates of TVMScript, lowering, memory plan."""
