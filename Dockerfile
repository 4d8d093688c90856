# torch, the program, the sample corpus and the bot in the box: docs/platforms.md
FROM python:3.12-slim
WORKDIR /app
# on Linux the package index has torch with CUDA, which is several GB: name the index of CPU builds that pytorch.org gives
ARG PIP_EXTRA_INDEX_URL
COPY . .
RUN pip install --no-cache-dir -c constraints.txt ".[onnx]"
ENTRYPOINT ["chatbot"]
CMD ["chat", "pretrained"]
