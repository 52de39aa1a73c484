"""The contract as Python: protobuf modules generated from proto/ by scripts/gen.

`*_pb2` needs protobuf only; `*_pb2_grpc` needs grpc as well.
"""
